"""How long a call waited for MongoDB."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from services.history.mongo.waits import Waits


def test_what_is_waited_for_at_once_counts_once_and_pauses_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("services.history.mongo.waits.time", SimpleNamespace(monotonic=lambda: now))
    waits = Waits()
    with waits.wait():
        now = 1.0
        with waits.wait():
            now = 3.0
        now = 4.0
    now = 10.0
    with suppress(TimeoutError), waits.wait():
        now = 12.0
        raise TimeoutError
    assert waits.total_s == 6.0
