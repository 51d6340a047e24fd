"""Turns that take another's place: what their prompts and the session's transcript have, and what stays of the rest."""

import asyncio
from typing import Any

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn
from tests.service.history.running import WORKSPACE, History, finished, order


async def admit(history: History, session_id: str, text: str, **members: Any) -> AdmittedTurn:
    return await history.client.admit(WORKSPACE, order(session_id, text).model_copy(update=members))


async def answered(history: History, session_id: str, text: str, **members: Any) -> tuple[str, list[str | None]]:
    """A whole turn: its id, and the context that its prompt had."""
    turn = (await admit(history, session_id, text, **members)).turn
    lease = await history.claim(turn.id)
    assert await lease.job.finish(finished(turn.id, lease.claimed.attempt, text.lower()))
    await history.wait_for_end(turn.id)
    return turn.id, [message.content for message in lease.claimed.context]


async def texts(history: History, session_id: str, **query: str) -> list[str]:
    found = list[str]()
    cursor = dict[str, str]()
    while True:
        page = await history.client.messages(WORKSPACE, session_id, {"limit": "3", **query, **cursor})
        found += [message["content"] for message in page["items"]]
        if page["nextCursor"] is None:
            return found
        cursor = {"cursor": page["nextCursor"]}


@pytest.fixture
async def session_id(history: History) -> str:
    await history.publish()
    return await history.session()


async def test_a_turn_in_anothers_place_leaves_out_what_it_replaces(history: History, session_id: str) -> None:
    first, _ = await answered(history, session_id, "A")
    second, _ = await answered(history, session_id, "B")
    await answered(history, session_id, "C")
    edited, context = await answered(history, session_id, "B2", instead_of=second)
    assert context == ["A", "a"]
    assert await texts(history, session_id) == ["A", "a", "B2", "b2"]
    assert await texts(history, session_id, order="desc") == ["b2", "B2", "a", "A"]
    _, context = await answered(history, session_id, "D")
    assert context == ["A", "a", "B2", "b2"]
    assert (await history.client.turn(WORKSPACE, edited)).turn.parent == first
    back, context = await answered(history, session_id, "E", parent=second)
    assert context == ["A", "a", "B", "b"]
    assert await texts(history, session_id) == ["A", "a", "B", "b", "E", "e"]
    assert (await history.client.turn(WORKSPACE, back)).turn.parent == second


async def test_all_branches_are_shown_on_request_with_the_turns_that_they_follow(
    history: History, session_id: str
) -> None:
    first, _ = await answered(history, session_id, "A")
    again, _ = await answered(history, session_id, "A2", instead_of=first)
    last, _ = await answered(history, session_id, "B")
    page = await history.client.messages(WORKSPACE, session_id, {"branches": "all"})
    assert {item["turnId"]: item["parentTurnId"] for item in page["items"]} == {first: None, again: None, last: again}
    assert await texts(history, session_id, branches="all") == ["A", "a", "A2", "a2", "B", "b"]
    turns = (await history.client.session_turns(WORKSPACE, session_id)).turns
    assert [turn.turn.id for turn in turns] == [first, again, last], "an export loses no branch"


async def test_the_turns_of_the_active_branch_come_in_pages_from_its_end(history: History, session_id: str) -> None:
    turns = [(await answered(history, session_id, text))[0] for text in "ABCD"]
    again, _ = await answered(history, session_id, "D2", instead_of=turns[3])
    page = await history.client.branch(WORKSPACE, session_id, limit=3)
    assert ([turn.turn.id for turn in page.turns], page.next) == ([*turns[1:3], again], 2)
    page = await history.client.branch(WORKSPACE, session_id, before=page.next, limit=3)
    assert ([turn.turn.id for turn in page.turns], page.next) == (turns[:1], None)
    empty = await history.client.branch(WORKSPACE, await history.session())
    assert (empty.turns, empty.next) == ((), None)


async def test_the_branch_of_a_running_turn_is_the_active_one(history: History, session_id: str) -> None:
    first, _ = await answered(history, session_id, "A")
    turn = (await admit(history, session_id, "A2", instead_of=first)).turn
    assert await texts(history, session_id) == ["A2"]
    with pytest.raises(ApiError) as raised:
        await admit(history, session_id, "A3", instead_of=turn.id)
    assert raised.value.code is Code.TURN_IN_PROGRESS
    await history.client.cancel(WORKSPACE, turn.id)
    assert await texts(history, session_id) == ["A2"]


async def test_a_repeat_begins_no_second_branch(history: History, session_id: str) -> None:
    first, _ = await answered(history, session_id, "A")
    members = {"instead_of": first, "idempotency_key": "again"}
    orders = [order(session_id, "A").model_copy(update=members) for _ in range(4)]
    admitted = await asyncio.gather(*(history.client.admit(WORKSPACE, each) for each in orders))
    assert len({each.turn.id for each in admitted}) == 1
    assert await history.count(sessionId=session_id) == 2


async def test_a_turn_that_was_overtaken_stays_on_the_branch_that_overtook_it(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await answered(history, session_id, "A")
    admission = history.dependencies.nouns.admission
    plain = admission._stored

    async def overtaken(*given: Any) -> bytes:
        monkeypatch.setattr(admission, "_stored", plain)
        await answered(history, session_id, "A2", instead_of=first)
        return await plain(*given)

    monkeypatch.setattr(admission, "_stored", overtaken)
    _, context = await answered(history, session_id, "B")
    assert context == ["A2", "a2"]
    assert await texts(history, session_id) == ["A2", "a2", "B", "b"]


async def test_a_result_that_is_delivered_again_brings_no_earlier_branch_back(
    history: History, session_id: str
) -> None:
    first, _ = await answered(history, session_id, "A")
    second, _ = await answered(history, session_id, "A2", instead_of=first)
    await answered(history, session_id, "A3", instead_of=second)
    await history.dependencies.finalizer.finish(finished(second, 1, "a2"))
    await answered(history, session_id, "B")
    assert await texts(history, session_id) == ["A3", "a3", "B", "b"]


async def test_a_turn_of_another_session_has_no_place_here(history: History, session_id: str) -> None:
    foreign, _ = await answered(history, await history.session(), "A")
    for member in ("parent", "instead_of"):
        with pytest.raises(ApiError) as raised:
            await admit(history, session_id, "B", **{member: foreign})
        assert raised.value.code is Code.TURN_NOT_FOUND
