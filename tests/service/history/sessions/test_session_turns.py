"""What followers of a session read: its turns by number, the state of many sessions, and the signal to look."""

import asyncio

from redis.asyncio import Redis

from shared.contracts.errors import Code
from shared.ids import new_id
from shared.run_log.keys import session_channel
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History
from tests.service.history.sessions.test_sessions import refused


async def test_pages_of_turns_are_in_the_order_of_their_numbers(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turns = [await history.answer(session_id, f"Question {n}", f"Answer {n}") for n in range(4)]
    turns.append((await history.admit(session_id, "Question 4")).turn.id)
    seen: list[tuple[int, str, str]] = []
    start: int | None = 1
    while start is not None:
        page = await history.client.session_turns(WORKSPACE, session_id, start, 2)
        assert page.session.turn_count == 5
        seen += [(stored.number, stored.turn.id, stored.turn.status) for stored in page.turns]
        assert len(page.turns) <= 2
        start = page.next
    statuses = ["completed"] * 4 + ["queued"]
    assert seen == [(n, *told) for n, told in enumerate(zip(turns, statuses, strict=True), 1)]
    last = await history.client.session_turns(WORKSPACE, session_id, 5)
    assert [stored.input[0].content for stored in last.turns] == ["Question 4"]


async def test_the_turns_of_a_foreign_session_are_those_of_an_unknown_one(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    assert await refused(history.client.session_turns("other", session_id)) is Code.SESSION_NOT_FOUND
    assert await history.client.session_states([("other", session_id)]) == [None]


async def test_the_state_of_sessions_counts_the_turn_that_runs(history: History) -> None:
    await history.publish()
    idle, busy, gone, ended = [await history.session() for _ in range(4)]
    await history.answer(idle)
    await history.admit(busy)
    await history.client.delete_session(WORKSPACE, gone)
    await history.client.end_session(WORKSPACE, ended)
    names = [(WORKSPACE, session_id) for session_id in (idle, busy, gone, new_id("ses"), ended, idle)]
    states = await history.client.session_states(names)
    assert [state and (state.status, state.turn_count, state.active) for state in states] == [
        ("active", 1, False),
        ("active", 1, True),
        None,
        None,
        ("ended", 0, False),
        ("active", 1, False),
    ]


async def test_the_bell_rings_after_a_turn_and_a_session_have_ended(history: History, redis_url: str) -> None:
    await history.publish()
    session_id = await history.session()
    heard: list[str] = []
    async with Redis.from_url(redis_url) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(session_channel(WORKSPACE, session_id))

        async def hear() -> None:
            async for message in pubsub.listen():
                heard.extend([message["data"].decode()] if message["type"] == "message" else ())

        task = asyncio.create_task(hear())
        turn_id = await history.answer(session_id)
        await eventually(lambda: turn_id in heard)
        await history.client.end_session(WORKSPACE, session_id)
        await eventually(lambda: heard == [turn_id, ""])
        await history.client.delete_session(WORKSPACE, session_id)
        await eventually(lambda: heard == [turn_id, "", ""])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
