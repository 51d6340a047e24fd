"""Filters of the list of sessions, one by one and together."""

from typing import Any

import orjson

from shared.contracts.sessions import EndUser
from shared.ids import new_id, time_of
from tests.service.history.running import WORKSPACE, History


async def made(history: History, metadata: dict[str, str] | None = None, user: str | None = None) -> str:
    session = await history.client.create_session(
        WORKSPACE,
        new_id("ses"),
        "agt_demo",
        metadata or {},
        draft=False,
        end_user=EndUser(id=user) if user is not None else None,
    )
    return session.id


async def listed(history: History, *query: tuple[str, Any]) -> list[str]:
    """All pages, of one session each."""
    found: list[str] = []
    cursor: list[tuple[str, str]] = []
    while True:
        asked = [("limit", "1"), *((name, str(value)) for name, value in query), *cursor]
        page = await history.client.sessions(WORKSPACE, asked)
        found += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            return found
        cursor = [("cursor", page["nextCursor"])]


def label(name: str, value: str) -> tuple[str, str]:
    return "label", orjson.dumps([name, value]).decode()


async def test_sessions_are_found_by_their_metadata(history: History) -> None:
    await history.publish()
    pro = await made(history, {"plan": "pro", "$where": "a.b"})
    free = await made(history, {"plan": "free", "$where": "a.b"})
    none = await made(history)
    assert await listed(history) == [none, free, pro]
    assert await listed(history, label("plan", "pro")) == [pro]
    assert await listed(history, label("$where", "a.b")) == [free, pro]
    assert await listed(history, label("$where", "a.b"), label("plan", "free")) == [free]
    assert await listed(history, label("plan", "a.b")) == []
    await history.client.delete_session(WORKSPACE, pro)
    assert await listed(history, label("plan", "pro")) == []
    assert "labels" not in await history.documents.sessions.find_one({"_id": pro})


async def test_sessions_are_found_by_their_end_user(history: History) -> None:
    await history.publish()
    first, _, again = await made(history, user="u 1"), await made(history, user="u 2"), await made(history, user="u 1")
    assert await listed(history, ("endUser", "u 1")) == [again, first]
    assert await listed(history, ("endUser", "u")) == []


async def test_sessions_are_found_by_version_and_status(history: History) -> None:
    await history.publish(instructions="One.")
    old, ended = await made(history), await made(history)
    await history.publish(instructions="Two.")
    new = await made(history)
    await history.client.end_session(WORKSPACE, ended)
    agent = ("agentId", "agt_demo")
    assert await listed(history, agent, ("agentVersion", 1)) == [ended, old]
    assert await listed(history, agent, ("agentVersion", 2)) == [new]
    assert await listed(history, agent, ("agentVersion", 1), ("status", "active")) == [old]
    assert await listed(history, ("status", "ended")) == [ended]
    assert await listed(history, ("agentId", "agt_other")) == []


async def test_sessions_are_found_by_the_time_of_their_creation(history: History) -> None:
    await history.publish()
    sessions = [await made(history) for _ in range(4)]
    low, high = time_of(sessions[1]), time_of(sessions[3])
    expected = [session for session in sessions if low <= time_of(session) < high]
    assert await listed(history, ("createdFrom", low), ("createdBefore", high)) == expected[::-1]
    assert await listed(history, ("createdFrom", low), ("createdBefore", high), ("order", "asc")) == expected
    assert await listed(history, ("createdFrom", high + 60_000)) == []
    assert await listed(history, ("createdBefore", low - 60_000)) == []


async def test_a_list_goes_on_after_a_session_in_both_directions(history: History) -> None:
    await history.publish()
    sessions = [await made(history) for _ in range(5)]
    page = await history.client.sessions(WORKSPACE, [("after", sessions[2]), ("order", "asc")])
    assert [item["id"] for item in page["items"]] == sessions[3:]
    page = await history.client.sessions(WORKSPACE, [("after", sessions[2])])
    assert [item["id"] for item in page["items"]] == sessions[:2][::-1]
