"""A connection string is judged at the start: what to change, in one line, and never a password."""

import pytest

from services.history.mongo.address import check
from services.history.settings import HistorySettings

GOOD = [
    "mongodb://127.0.0.1:27017",
    "mongodb://127.0.0.1:27017/?retryWrites=false&directConnection=true",
    "mongodb://parley:p%40ss%2Fword@a:27017,b:27017,c:27017/parley?replicaSet=rs0&tls=true&authSource=admin",
    "mongodb://user@[::1]:27017/",
    "mongodb+srv://parley:secret@cluster0.example.mongodb.net/?retryWrites=true&w=majority&appName=x",
    "mongodb://mongos-1:27017,mongos-2:27017/parley?compressors=zstd",
    "mongodb://h?replicaSet=rs0",
]
BAD = [
    ("", "must begin with mongodb://"),
    ("redis://h", "must begin with mongodb://"),
    ("mongodb://", "must begin with mongodb://"),
    ("mongodb://u:top@secret@h/", "percent-encoded"),
    ("mongodb://u:top/secret@h/", "percent-encoded"),
    ("mongodb://u:top%secret@h/", "percent-encoded"),
    ("mongodb://u:topsecret@h, i/", "without spaces"),
    ("mongodb://u:topsecret@h,/", "must name servers"),
    ("mongodb://u:topsecret@h:99999/", "Port must be an integer between 0 and 65535"),
    ("mongodb://u:topsecret@h/?replicaSett=rs", "Unknown option: replicasett"),
    ("mongodb://u:topsecret@h/?tls=perhaps", "tls must be 'true' or 'false'"),
    ("mongodb://u:topsecret@h/?tls=true&tlsCAFile=/nowhere/ca.pem", "cannot be read: /nowhere/ca.pem"),
    ("mongodb://u:topsecret@a,b/?directConnection=true", "multiple hosts"),
    ("mongodb+srv://u:topsecret@a,b/", "takes one name, no port"),
    ("mongodb+srv://u:topsecret@a:27017/", "takes one name, no port"),
]


@pytest.mark.parametrize("uri", GOOD)
def test_what_the_driver_takes_is_taken(uri: str) -> None:
    check(uri)


@pytest.mark.parametrize(("uri", "said"), BAD)
def test_what_is_wrong_is_said_in_one_line_without_the_password(uri: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        check(uri)
    text = str(raised.value)
    assert said in text
    assert "\n" not in text
    assert not [part for part in ("top", "secret") if part in text]


def test_history_does_not_start_with_such_a_string() -> None:
    with pytest.raises(ValueError, match="mongodb_uri"):
        HistorySettings.model_validate({"internal_token": "t" * 32, "mongodb_uri": "mongodb://h/?tls=perhaps"})
