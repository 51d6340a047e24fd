"""Secrets that stand in files, as orchestrators mount them."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.agent_worker.settings import WorkerSettings
from services.gateway.settings import GatewaySettings
from services.history.settings import HistorySettings
from shared.known_variables import SECRETS, complaints
from shared.settings import SettingsError

TOKEN = "a-token-for-tests-only"
CLASSES = (WorkerSettings, GatewaySettings, HistorySettings)


def test_a_secret_is_read_from_the_file_that_its_variable_names(tmp_path: Path) -> None:
    files = {}
    # The others must have the form of a key or a URL.
    formed = {"SECRETS_KEYS", "BOOTSTRAP_KEY", "REDACTION_SECRET", "QUEUE_REDIS_URL", "STREAM_REDIS_URLS"}
    for name in SECRETS - formed:
        path = tmp_path / name
        before = "mongodb://" if name == "MONGODB_URI" else ""
        path.write_text(f"  {before}{name}-{TOKEN}\n")
        files[f"PARLEY_{name}_FILE"] = str(path)
    history = HistorySettings.load(files)
    assert history.internal_token.get_secret_value() == f"INTERNAL_TOKEN-{TOKEN}"
    assert history.mongodb_uri == f"mongodb://MONGODB_URI-{TOKEN}"
    assert WorkerSettings.load(files).model_api_key.get_secret_value() == f"MODEL_API_KEY-{TOKEN}"


def test_every_secret_can_be_in_a_file() -> None:
    fields = {name: field for settings in CLASSES for name, field in settings.model_fields.items()}
    secret = {name.upper() for name, field in fields.items() if field.annotation is SecretStr}
    assert secret <= SECRETS
    assert {name.lower() for name in SECRETS} <= set(fields)
    assert complaints([f"{name}_FILE" for name in SECRETS]) == []
    assert complaints(["LEASE_S_FILE"]) != []


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_a_fault_of_its_variable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="PARLEY_INTERNAL_TOKEN_FILE: the file cannot be read"):
        GatewaySettings.load({"PARLEY_INTERNAL_TOKEN_FILE": str(path)})


def test_a_secret_given_twice_is_refused_without_its_value(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    with pytest.raises(SettingsError, match="are both set") as refused:
        GatewaySettings.load({"PARLEY_INTERNAL_TOKEN": TOKEN, "PARLEY_INTERNAL_TOKEN_FILE": str(path)})
    assert TOKEN not in str(refused.value)
