import base64
from typing import Any

import pytest

from shared.contracts.agents import AgentConfig
from shared.contracts.endpoints import Secret
from shared.contracts.tools import HttpTool
from shared.secrets import SecretBox, SecretsUnavailable
from shared.tool_secrets import sealed_config, shown_config

OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"\xff"))
CANARY = "canary-7f3a"
SIGNING = "whsec_" + base64.b64encode(b"s" * 24).decode()


def config(**secrets: Any) -> AgentConfig:
    tool = {
        "name": "look_up",
        "url": "https://shop.example/x",
        "secretHeaders": {"Authorization": {"value": CANARY}},
        "signingSecret": {"value": SIGNING},
        **secrets,
    }
    return AgentConfig.model_validate({"name": "Mia", "model": {"name": "m"}, "tools": [tool]})


def tool_of(config: AgentConfig) -> HttpTool:
    (tool,) = config.tools
    assert isinstance(tool, HttpTool)
    return tool


def test_a_secret_is_sealed_for_its_workspace() -> None:
    box = SecretBox([OLD])
    sealed = box.seal("acme", CANARY)
    assert CANARY not in sealed
    assert box.open("acme", Secret(sealed=sealed)) == CANARY
    with pytest.raises(SecretsUnavailable):
        box.open("other", Secret(sealed=sealed))


@pytest.mark.parametrize("sealed", [None, "", "nonsense", "gAAAAA=="])
def test_what_was_not_sealed_cannot_be_opened(sealed: str | None) -> None:
    with pytest.raises(SecretsUnavailable):
        SecretBox([OLD]).open("acme", Secret(sealed=sealed))


def test_keys_rotate() -> None:
    sealed = SecretBox([OLD]).seal("acme", CANARY)
    both = SecretBox([NEW, OLD])
    assert both.open("acme", Secret(sealed=sealed)) == CANARY
    rotated = both.rotate(sealed)
    assert SecretBox([NEW]).open("acme", Secret(sealed=rotated)) == CANARY
    with pytest.raises(SecretsUnavailable):
        SecretBox([NEW]).open("acme", Secret(sealed=sealed))


def test_without_a_key_nothing_is_stored() -> None:
    box = SecretBox([])
    with pytest.raises(SecretsUnavailable, match="PARLEY_SECRETS_KEYS"):
        box.seal("acme", CANARY)


def test_a_bad_key_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="32 bytes") as caught:
        SecretBox(["hunter2"])
    assert "hunter2" not in str(caught.value)


def test_no_representation_shows_a_secret() -> None:
    box, given = SecretBox([OLD]), config()
    stored = sealed_config(given, box, "acme")
    for value in (given, given.tools[0], stored, box, shown_config(given)):
        assert CANARY not in repr(value)
        assert SIGNING not in repr(value)
        assert OLD not in repr(value)
    assert CANARY not in str(stored.wire())
    assert "sealed" not in str(shown_config(stored).wire())


def test_the_same_configuration_is_stored_as_the_same_bytes() -> None:
    box = SecretBox([OLD])
    stored = sealed_config(config(), box, "acme")
    assert sealed_config(config(), box, "acme", stored) == stored
    changed = sealed_config(config(secretHeaders={"Authorization": {"value": "other"}}), box, "acme", stored)
    assert tool_of(changed).secret_headers != tool_of(stored).secret_headers
    assert tool_of(changed).signing_secret == tool_of(stored).signing_secret


def test_what_is_shown_can_be_sent_back() -> None:
    box = SecretBox([OLD])
    stored = sealed_config(config(), box, "acme")
    assert sealed_config(shown_config(stored), box, "acme", stored) == stored


def test_a_sealed_secret_from_outside_is_refused() -> None:
    box = SecretBox([OLD])
    stored = sealed_config(config(), box, "acme")
    foreign = config(secretHeaders={"Authorization": {"sealed": box.seal("acme", "stolen")}})
    for before in (None, stored):
        with pytest.raises(SecretsUnavailable, match="look_up needs the value of its secret authorization"):
            sealed_config(foreign, box, "acme", before)


def test_the_secrets_of_guardrails_are_sealed_and_hidden_too() -> None:
    box = SecretBox([OLD])
    hook = {
        "kind": "http",
        "name": "look_up",
        "stage": "input",
        "url": "https://shop.example/x",
        "signingSecret": {"value": SIGNING},
        "secretHeaders": {"X-Key": {"value": CANARY}},
    }
    given = AgentConfig.model_validate({"name": "Mia", "model": {"name": "m"}, "guardrails": [hook]})
    stored = sealed_config(given, box, "acme")
    assert CANARY not in str(stored.wire()) + repr(given)
    assert SIGNING not in str(stored.wire()) + repr(given)
    assert "sealed" not in str(shown_config(stored).wire())
    assert sealed_config(shown_config(stored), box, "acme", stored) == stored
    # A tool of the same name has other secrets.
    with pytest.raises(SecretsUnavailable, match="the guardrail look_up needs the value of its secret"):
        sealed_config(shown_config(stored), box, "acme", sealed_config(config(), box, "acme"))
