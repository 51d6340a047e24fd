"""What a claim brings of earlier turns, and that it is read from MongoDB only where it is not known yet."""

import asyncio
from typing import Any

import pytest

from services.history.context import Contexts
from services.history.store import Documents
from shared.contracts.agents import Limits
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, finished, running, settings_for


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The turn numbers that were looked up, as [from, to)."""
    seen: list[tuple[int, int]] = []
    plain = Documents.many

    async def many(self: Documents, where: Any, **options: Any) -> Any:
        if hasattr(where.get("n"), "terms") and "$lt" in where["n"].terms:
            seen.append((where["n"].terms["$gte"], where["n"].terms["$lt"]))
        return await plain(self, where, **options)

    monkeypatch.setattr(Documents, "many", many)
    return seen


async def shown(history: History, session_id: str) -> list[str | None]:
    """What the session's next turn would be shown; it is then answered with the number of its messages."""
    turn = (await history.admit(session_id, "next")).turn
    lease = await history.claim(turn.id)
    messages = [message.content for message in lease.claimed.context]
    await lease.job.finish(finished(turn.id, lease.claimed.attempt, str(len(messages))))
    await history.wait_for_end(turn.id)
    return messages


async def test_a_session_in_use_is_not_read_again(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    session_id = await history.session()
    expected: list[str] = []
    for number in range(5):
        assert await shown(history, session_id) == expected
        expected += ["next", str(2 * number)]
    assert ranges == []


async def test_what_another_history_stored_is_seen(
    history: History, mongodb_uri: str, redis_url: str, ranges: list[tuple[int, int]]
) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id, "one", "two")
    settings = settings_for(mongodb_uri, redis_url, mongodb_database=history.parts.settings.mongodb_database)
    async with running(settings) as other:
        await eventually(lambda: is_ready(other), within_s=20.0, what="a ready history")
        # Either of the two may store an end; each is asked in turn, and shows all that has ended.
        expected = ["one", "two"]
        for number in range(10):
            asked = (history, other)[number % 2]
            assert await shown(asked, session_id) == expected
            expected += ["next", str(len(expected))]
    assert ranges
    assert all(low > 1 or high == 2 for low, high in ranges[1:])


async def test_an_end_that_history_made_is_shown_as_it_is_stored(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, "one")).turn
    await history.claim(turn.id)
    await history.write(turn.id, 1, "half ", "an answer")
    await history.lapse(turn.id)
    await history.client.cancel(WORKSPACE, turn.id)
    await history.wait_for_end(turn.id)
    assert await shown(history, session_id) == ["one", "half an answer"]


async def test_a_deleted_session_is_forgotten(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    session_id = await history.session()
    await shown(history, session_id)
    contexts = history.parts.endings.contexts
    assert b"next" in await contexts.before(WORKSPACE, session_id, 2, Limits())
    assert ranges == []
    await history.client.delete_session(WORKSPACE, session_id)
    assert await contexts.before(WORKSPACE, session_id, 2, Limits()) == b"[]"
    assert ranges == [(1, 2)]


async def test_what_is_kept_is_bounded_and_let_go(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    sessions = [await history.session() for _ in range(4)]
    for session_id in sessions:
        await history.answer(session_id, "question", "x" * 3000)
    contexts = Contexts(history.parts.store, kept_bytes=9_000)
    for session_id in sessions:
        await contexts.before(WORKSPACE, session_id, 2, Limits())
    assert len(ranges) == 4
    await contexts.before(WORKSPACE, sessions[3], 2, Limits())
    await contexts.before(WORKSPACE, sessions[2], 2, Limits())
    assert len(ranges) == 4
    await contexts.before(WORKSPACE, sessions[0], 2, Limits())
    assert len(ranges) == 5


async def test_a_session_that_is_not_used_is_let_go(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    contexts = Contexts(history.parts.store, kept_s=0.1)
    for expected in (1, 1):
        await contexts.before(WORKSPACE, session_id, 2, Limits())
        assert len(ranges) == expected
    await asyncio.sleep(0.15)
    contexts.add(WORKSPACE, "ses_other", 1, "completed", [])
    await contexts.before(WORKSPACE, session_id, 2, Limits())
    assert len(ranges) == 2
