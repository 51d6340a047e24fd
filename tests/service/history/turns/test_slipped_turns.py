"""A session that ends while a turn is admitted: the turn was accepted first, and is cancelled; or erased with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import pytest

from services.history.mongo import filters
from services.history.mongo.collection import Collection
from services.history.reconcile.slipped_turns import SlippedTurns
from services.history.turns.record import TurnRecord
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn, AdmitTurn
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion, finished, now, order

Admission = Callable[[], "asyncio.Task[AdmittedTurn]"]
Repeat = Callable[[AdmitTurn], AdmitTurn]


def with_its_key(first: AdmitTurn) -> AdmitTurn:
    """What a client sends again."""
    return first.model_copy(update={"turn_id": new_id("trn")})


def with_its_id(first: AdmitTurn) -> AdmitTurn:
    """What a gateway sends again."""
    return first


@asynccontextmanager
async def admitted_late(
    history: History, monkeypatch: pytest.MonkeyPatch, wanted: AdmitTurn
) -> AsyncIterator[Admission]:
    """The session was read, and the turn is about to be stored; its admission goes on when told."""
    reached, go_on, plain = asyncio.Event(), asyncio.Event(), Collection.insert

    async def insert(self: Collection, document: Any) -> Any:
        if self.name == "turns" and not reached.is_set():
            reached.set()
            await go_on.wait()
        return await plain(self, document)

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "insert", insert)
        admission = asyncio.create_task(history.client.admit(WORKSPACE, wanted))
        await reached.wait()

        def continued() -> "asyncio.Task[AdmittedTurn]":
            go_on.set()
            return admission

        try:
            yield continued
        finally:
            go_on.set()
            await asyncio.gather(admission, return_exceptions=True)


async def end(history: History, session_id: str) -> None:
    await history.client.end_session(WORKSPACE, session_id)


async def delete(history: History, session_id: str) -> None:
    await history.client.delete_session(WORKSPACE, session_id)


async def exists(history: History, turn_id: str) -> bool:
    return await history.documents.turns.find_one({"_id": turn_id}) is not None


async def is_cancelled(history: History, turn_id: str) -> bool:
    return bool((await history.document(turn_id))["status"] == "cancelled")


@pytest.fixture
async def session_id(history: History) -> str:
    await history.publish()
    return await history.session()


async def test_a_turn_that_slipped_into_an_ended_session_is_cancelled_without_a_worker(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with admitted_late(history, monkeypatch, order(session_id)) as go_on:
        await end(history, session_id)
        admitted = await go_on()
    await history.wait_for_end(admitted.turn.id)
    assert await is_cancelled(history, admitted.turn.id)
    assert [event for _, event, _ in await history.frames(admitted.turn.id)] == ["done"]


async def test_a_turn_that_slipped_into_a_deleted_session_is_erased_without_a_worker(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with admitted_late(history, monkeypatch, order(session_id)) as go_on:
        await delete(history, session_id)
        admitted = await go_on()

    async def erased() -> bool:
        session = await history.documents.sessions.find_one({"_id": session_id})
        return not await exists(history, admitted.turn.id) and "erasing" not in session

    await eventually(erased, what="the turn's erasure")
    assert await history.queue.missing([admitted.turn.id]) == [admitted.turn.id]


async def test_a_turn_that_slipped_into_a_deleted_session_is_not_to_be_seen(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even before the reconciler has erased it."""
    monkeypatch.setattr(SlippedTurns, "among", AsyncMock(return_value={}))
    wanted = order(session_id, idempotency_key="k")
    async with admitted_late(history, monkeypatch, wanted) as go_on:
        await delete(history, session_id)
        turn_id = (await go_on()).turn.id
    assert await exists(history, turn_id)
    client, codes = history.client, list[Code]()
    for call in (
        client.turn(WORKSPACE, turn_id),
        client.cancel(WORKSPACE, turn_id),
        client.admit(WORKSPACE, with_its_key(wanted)),
        client.admit(WORKSPACE, with_its_id(wanted)),
    ):
        with pytest.raises(ApiError) as refused:
            await call
        codes.append(refused.value.code)
    assert codes == [Code.TURN_NOT_FOUND, Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND, Code.SESSION_NOT_FOUND]


async def test_the_turn_of_a_session_whose_end_was_interrupted_is_told_to_stop(
    history: History, session_id: str
) -> None:
    """The process that ended the session was killed before it looked for the session's turn."""
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "ended"}})

    async def told() -> bool:
        return (await history.document(turn_id)).get("cancelRequested") is True

    await eventually(told, what="the request to stop")


async def test_slipped_turns_are_found_by_several_reads(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "IDS_PER_READ", 2)
    await history.publish()
    sessions = [await history.session() for _ in range(5)]
    admitted = [(await history.admit(each)).turn.id for each in sessions]
    records = [TurnRecord.model_validate(await history.document(turn_id)) for turn_id in admitted]
    closed = dict(zip((*sessions[:1], *sessions[3:]), ("deleted", "ended", "deleted"), strict=True))
    for session_id, status in closed.items():
        await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": status}})
    found = await SlippedTurns(history.dependencies.database, history.dependencies.finalizer).among(records)
    assert found == {admitted[0]: "deleted", admitted[3]: "ended", admitted[4]: "deleted"}


async def test_a_turn_that_ran_in_a_deleted_session_is_erased_when_it_ends(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlippedTurns, "close", AsyncMock(return_value=set()))
    turn_id = (await history.admit(session_id)).turn.id
    job = await history.lease(turn_id)
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "deleted"}})
    assert await history.begin(turn_id, job.claim_id, 1, session_id=session_id, admitted_at=now())
    assert await job.finish(finished(turn_id, 1))

    async def erased() -> bool:
        session = await history.documents.sessions.find_one({"_id": session_id})
        return await history.count(sessionId=session_id) == 0 and "erasing" not in session

    await eventually(erased, what="the erasure of the turn's texts")


@pytest.mark.parametrize("repeat", [with_its_key, with_its_id])
async def test_a_repeat_is_answered_with_the_turn_that_slipped_in(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch, repeat: Repeat
) -> None:
    """Both requests were answered with one turn, which has one end."""
    wanted = order(session_id, idempotency_key="k" if repeat is with_its_key else None)
    async with admitted_late(history, monkeypatch, wanted) as go_on:
        await end(history, session_id)
        assert (await go_on()).turn.id == wanted.turn_id
    assert (await history.client.admit(WORKSPACE, repeat(wanted))).turn.id == wanted.turn_id
    await eventually(lambda: is_cancelled(history, wanted.turn_id), what="the turn's end")


async def test_an_ended_session_admits_no_new_turn(history: History, session_id: str) -> None:
    await end(history, session_id)
    with pytest.raises(ApiError) as refused:
        await history.client.admit(WORKSPACE, order(session_id))
    assert refused.value.code is Code.SESSION_ENDED


@pytest.mark.parametrize("of_session", [False, True])
async def test_a_repeated_call_does_not_keep_the_retry_guard_from_withdrawing_a_turn(
    history: History, session_id: str, of_session: bool
) -> None:
    """An original and its retry that were both marked as answered would both run."""
    wanted = order(session_id, retry_key="r") if of_session else completion(retry_key="r")
    assert await history.client.admit(WORKSPACE, wanted) == await history.client.admit(WORKSPACE, wanted)
    assert (await history.document(wanted.turn_id))["joined"] is False
