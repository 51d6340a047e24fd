import secrets

import pytest

from shared.contracts.key_records import KeyRecord
from shared.contracts.keys import Scope, is_secret, new_secret


@pytest.mark.parametrize("environment", ["live", "test"])
def test_a_new_secret_has_a_checksum_that_catches_every_changed_character(environment: str) -> None:
    secret = new_secret("live" if environment == "live" else "test")
    assert secret.startswith(f"parley_sk_{environment}_")
    assert is_secret(secret)
    start = len(f"parley_sk_{environment}_")
    for index in range(start, len(secret)):
        changed = secret[:index] + ("a" if secret[index] != "a" else "b") + secret[index + 1 :]
        assert not is_secret(changed)
    assert not is_secret(secret.replace(environment, "live" if environment == "test" else "test"))


def test_secrets_made_before_the_checksum_stay_valid() -> None:
    assert is_secret(f"parley_sk_live_{secrets.token_urlsafe(32)}")


@pytest.mark.parametrize(
    "text", ["", "parley_sk_live_", "parley_sk_live_short", "sk-live", "parley_sk_prod_" + "a" * 43, "x" * 10_000]
)
def test_what_has_another_shape_is_no_secret(text: str) -> None:
    assert not is_secret(text)
    assert not is_secret("parley_sk_live_" + "a" * 43 + "\n")


def test_a_key_of_a_newer_release_is_listed_without_the_scopes_that_are_not_known() -> None:
    wire = {"id": "key_1", "label": "", "environment": "live", "createdAt": "2026-11-27T00:00:00Z"}
    assert KeyRecord.model_validate({**wire, "scopes": ["chat:read", "moon:land"]}).scopes == (Scope.CHAT_READ,)
