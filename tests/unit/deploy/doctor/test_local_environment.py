"""Which database `--local` means: the one that the stack uses, or another one that the caller names."""

from pathlib import Path

import orjson
import pytest

from deploy.doctor.configuration import local_environment

STATE = {
    "internalToken": "a-token-for-tests-only",
    "toolSecretsKey": "",
    "publicUrl": "http://127.0.0.1:1",
    "ports": {"redis": 1, "mongodb": 2, "history-1": 3, "model": 4},
}


@pytest.mark.parametrize(
    ("noted", "named", "meant"),
    [(None, None, "parley"), ("second", None, "second"), ("second", "restored", "restored")],
)
def test_the_database_is_the_named_one_or_that_of_the_stack(
    noted: str | None, named: str | None, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state.json").write_bytes(orjson.dumps(STATE | ({"database": noted} if noted else {})))
    monkeypatch.delenv("PARLEY_MONGODB_DATABASE", raising=False)
    if named is not None:
        monkeypatch.setenv("PARLEY_MONGODB_DATABASE", named)
    assert local_environment(tmp_path)["PARLEY_MONGODB_DATABASE"] == meant
