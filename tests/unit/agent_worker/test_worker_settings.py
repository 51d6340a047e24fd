import pytest

from services.agent_worker.settings import WorkerSettings
from shared.settings import SettingsError

TOKEN = {"PARLEY_INTERNAL_TOKEN": "a-token-for-tests-only"}


def test_the_model_variables_are_the_default_upstream_and_json_adds_others() -> None:
    settings = WorkerSettings.load(
        TOKEN
        | {
            "PARLEY_MODEL_BASE_URL": "http://127.0.0.1:8090/v1",
            "PARLEY_UPSTREAMS": '{"fast":{"baseUrl":"https://models.example/v1","apiKey":"k"}}',
        }
    )
    assert {name: upstream.base_url for name, upstream in settings.all_upstreams.items()} == {
        "default": "http://127.0.0.1:8090/v1",
        "fast": "https://models.example/v1",
    }
    assert settings.all_upstreams["fast"].api_key.get_secret_value() == "k"
    assert "k'" not in repr(settings.all_upstreams["fast"])


def test_a_worker_starts_without_any_model() -> None:
    assert WorkerSettings.load(TOKEN).all_upstreams == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAMS", "{"),
        ("UPSTREAMS", '{"a":{}}'),
        ("UPSTREAMS", '{"a":{"baseUrl":"nowhere"}}'),
        ("MAX_TURNS", "0"),
        ("MODEL_TRIES", "many"),
        ("MODEL_BASE_URL", "nowhere"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^PARLEY_{name}: "):
        WorkerSettings.load(TOKEN | {f"PARLEY_{name}": value})


def test_lists_of_hosts_networks_and_ports_are_read() -> None:
    settings = WorkerSettings.load(
        TOKEN | {"PARLEY_TOOL_ALLOW": "127.0.0.1:9, Orders.Internal:80, 10.1.0.0/16", "PARLEY_TOOL_PORTS": "443"}
    )
    policy = settings.outgoing_policy
    assert policy.allow.hosts == {"127.0.0.1:9", "orders.internal:80"}
    assert policy.allow.holds("10.1.2.3")
    assert policy.ports == {443}
