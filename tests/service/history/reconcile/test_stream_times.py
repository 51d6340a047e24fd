"""A time in the list of stream Redises that had passed when it was given first is told, once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.history.reconcile.stream_times import SEEN, StreamTimes
from shared.broker.shards import Shards
from shared.turn_queue.queue import TurnQueue

FIRST, SECOND = "redis://a:6379/0", "redis://:password@b:6379/0"


def given(member: str, at: datetime) -> Shards:
    return Shards([FIRST, f"{SECOND}#{member}={at:%Y-%m-%dT%H:%M:%SZ}"])


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[TurnQueue]:
    opened = TurnQueue.connect(redis_url)
    yield opened
    await opened.aclose()


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "stream_time_was_past" in line]


@pytest.mark.parametrize("member", ["since", "until"])
async def test_a_time_that_had_passed_when_it_was_given_first_is_told_once(
    queue: TurnQueue, capsys: pytest.CaptureFixture[str], member: str
) -> None:
    late = given(member, datetime.now(UTC) - timedelta(minutes=5))
    for _ in range(2):  # Of two processes, and of one that is restarted.
        times = StreamTimes(queue, late)
        await times.note()
        await times.note()
    (line,) = told(capsys)
    assert f"member={member}" in line
    assert "password" not in line
    assert not [name for name in await queue.hgetall(SEEN) if b"password" in name]  # type: ignore[misc]


async def test_a_time_that_was_given_before_it_came_is_not_told(
    queue: TurnQueue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = given("since", datetime.now(UTC) + timedelta(hours=1))
    await StreamTimes(queue, planned).note()
    later = datetime.now(UTC).timestamp() + 7200
    monkeypatch.setattr("services.history.reconcile.stream_times.time.time_ns", lambda: int(later * 1e9))
    await StreamTimes(queue, planned).note()  # A process that was replaced after the time, or restarted years later.
    assert told(capsys) == []


async def test_a_list_without_times_reads_and_writes_nothing(queue: TurnQueue) -> None:
    await StreamTimes(queue, Shards([FIRST, SECOND])).note()
    assert not await queue.exists(SEEN)
