"""What looks like a secret is in no log line, whatever value it hides in."""

import io
import json
import logging
from contextlib import redirect_stdout

import pytest
import structlog

from shared.contracts.keys import new_secret
from shared.log import configure, redact

SECRETS = [
    new_secret("live"),
    new_secret("test").replace("_sk_", "_pk_"),
    "parley_vt_abcdefgh",
    "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY",
    "sk-proj-0123456789abcdef",
    "Bearer eyJhbGciOi.abc-_",
    "basic dXNlcjpwYXNz",
]


# Random secrets must not be in the names of tests: several processes compare the names.
@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_a_secret_is_redacted_wherever_it_stands(secret: str) -> None:
    event = {
        "event": f"x {secret} y",
        "list": [secret, {"inner": (secret, secret.encode())}],
        "error": ValueError(secret),
        secret: 1,
        "number": 5,
        "none": None,
    }
    shown = str(redact(None, "info", event))
    assert secret.partition(" ")[2] or secret not in shown
    assert secret not in shown
    assert shown.count("[redacted]") == 6
    assert "'number': 5" in shown


@pytest.mark.parametrize("url", ["redis://:hunter2@h:1/0", "rediss://app:hunter2@h", "mongodb://app:hunter2@a,b/x"])
def test_passwords_in_urls_are_redacted(url: str) -> None:
    shown = redact(None, "info", {"event": f"cannot reach {url}"})["event"]
    assert "hunter2" not in shown
    assert "[redacted]@" in shown


def test_an_address_without_a_password_stays() -> None:
    event = {"event": "x", "url": "redis://h:6379/0", "time": "12:30:11", "mail": "mia@example.org"}
    assert redact(None, "info", dict(event)) == event


def test_tracebacks_and_other_libraries_lines_are_redacted_too() -> None:
    output, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    try:
        with redirect_stdout(output):
            configure("test", "info")
            try:
                raise ValueError(SECRETS[0])
            except ValueError:
                structlog.get_logger().exception("failed")
                logging.getLogger("other").error("%s", {"Authorization": SECRETS[5]})
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert len(lines) == 2
    assert "ValueError" in lines[0]["exception"]
    assert SECRETS[0] not in output.getvalue()
    assert SECRETS[5] not in output.getvalue()
