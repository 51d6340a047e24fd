import subprocess
import sys
from typing import Any

import pytest

from services.gateway.settings import GatewaySettings
from shared.known_variables import complaints
from shared.settings import Settings, SettingsError

TOKEN = {"PARLEY_INTERNAL_TOKEN": "a-token-for-tests-only"}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("LEASES_S", "LEASE_S"), ("MODEL_BASEURL", "MODEL_BASE_URL"), ("REDIS_URL", "QUEUE_REDIS_URL")],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=rf"PARLEY_{name} is not .*; did you mean PARLEY_{nearest}\?"):
        Settings.load(TOKEN | {f"PARLEY_{name}": "5"})


def test_a_variable_like_no_other_is_refused_without_a_guess() -> None:
    assert complaints(["ZZZZZZ"]) == ["PARLEY_ZZZZZZ is not a variable of Parley"]


def test_another_process_variables_and_those_of_tests_are_accepted() -> None:
    others = {"PARLEY_MONGODB_URI": "mongodb://x", "PARLEY_GATEWAYS": "2", "PARLEY_TEST_SEED": "1"}
    assert GatewaySettings.load(TOKEN | others).port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "tcp://10.96.0.12:8080"),
        ("PORT_8080_TCP", "tcp://10.96.0.12:8080"),
        ("PORT_8080_TCP_PROTO", "tcp"),
        ("PORT_8080_TCP_PORT", "8080"),
        ("PORT_8080_TCP_ADDR", "10.96.0.12"),
        ("SERVICE_HOST", "10.96.0.12"),
        ("SERVICE_PORT", "8080"),
        ("SERVICE_PORT_HTTP", "8080"),
        ("GATEWAY_PORT", "tcp://10.96.0.12:8080"),
        ("GATEWAY_SERVICE_HOST", "10.96.0.12"),
        ("GATEWAY_SERVICE_PORT_HTTP_API", "8080"),
        ("HISTORY_PORT_53_UDP_ADDR", "10.96.0.12"),
        ("PRIVATE_PORT", "udp://10.96.0.12:53"),
    ],
)
def test_kubernetes_service_variables_are_ignored(name: str, value: str) -> None:
    assert GatewaySettings.load(TOKEN | {f"PARLEY_{name}": value}) == GatewaySettings.load(TOKEN)


def test_faults_name_variables_and_hold_no_values() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load({"PARLEY_INTERNAL_TOKEN": "too-short", "PARLEY_LEASE_S": "-17"})
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["PARLEY_INTERNAL_TOKEN", "PARLEY_LEASE_S"]
    assert "too-short" not in str(refused.value)
    assert "-17" not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        ["services.gateway"],
        ["services.agent_worker"],
        ["services.history"],
        ["deploy.local"],
        ["deploy.cli", "admin", "create-key", "w"],
    ],
    ids=lambda command: command[0],
)
def test_every_process_and_command_ends_at_once_and_without_a_traceback(command: list[str], tmp_path: Any) -> None:
    given = {**TOKEN, "PARLEY_MONGO_URI": "mongodb://secret", "PYTHONPATH": ".", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", *command], env=given, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert "did you mean PARLEY_MONGODB_URI?" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("keys", ["hunter2hunter2", "QUJD", "QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUI=,x"])
def test_a_key_for_secrets_that_is_none_is_refused_and_not_shown(keys: str) -> None:
    with pytest.raises(SettingsError, match=r"^PARLEY_SECRETS_KEYS: .*32 bytes in base64") as refused:
        Settings.load({"PARLEY_INTERNAL_TOKEN": "t" * 16, "PARLEY_SECRETS_KEYS": keys})
    assert keys not in str(refused.value)
