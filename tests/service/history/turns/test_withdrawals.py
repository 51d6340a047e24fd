"""A session that ends while a turn is admitted: the turn is withdrawn, unless a repeat was answered with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.history.mongo.collection import Collection
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn, AdmitTurn
from shared.ids import new_id
from tests.service.history.running import WORKSPACE, History, completion, order

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
) -> AsyncIterator[Callable[[], "asyncio.Task[AdmittedTurn]"]]:
    """The turn is stored, and its admission is about to look whether the session has ended; it goes on when told."""
    stored, go_on, plain = asyncio.Event(), asyncio.Event(), Collection.one

    async def one(self: Collection, where: Any, fields: Any = None) -> Any:
        if (self.name, fields) == ("sessions", {"status": 1}) and not stored.is_set():
            stored.set()
            await go_on.wait()
        return await plain(self, where, fields)

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "one", one)
        admission = asyncio.create_task(history.client.admit(WORKSPACE, wanted))
        await stored.wait()

        def continued() -> "asyncio.Task[AdmittedTurn]":
            go_on.set()
            return admission

        try:
            yield continued
        finally:
            go_on.set()
            await asyncio.gather(admission, return_exceptions=True)


async def end_unseen(history: History, session_id: str) -> None:
    """As the end of a session that looked for an active turn before there was one."""
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "ended"}})


async def exists(history: History, turn_id: str) -> bool:
    return await history.documents.turns.find_one({"_id": turn_id}) is not None


@pytest.fixture
async def session_id(history: History) -> str:
    await history.publish()
    return await history.session()


@pytest.mark.parametrize("repeat", [with_its_key, with_its_id])
async def test_a_turn_that_a_repeat_was_answered_with_stays_when_the_session_ends(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch, repeat: Repeat
) -> None:
    wanted = order(session_id, idempotency_key="k")
    async with admitted_late(history, monkeypatch, wanted) as go_on:
        answered = await history.client.admit(WORKSPACE, repeat(wanted))
        assert answered.turn.id == wanted.turn_id
        await end_unseen(history, session_id)
        assert (await go_on()).turn.id == wanted.turn_id
    found = await history.document(wanted.turn_id)
    assert found["status"] == "cancelled", "it is stopped, as an end stops what it sees"


async def test_a_turn_that_nobody_was_answered_with_is_withdrawn(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(session_id, idempotency_key="k")
    async with admitted_late(history, monkeypatch, wanted) as go_on:
        await end_unseen(history, session_id)
        with pytest.raises(ApiError) as refused:
            await go_on()
    assert refused.value.code is Code.SESSION_ENDED
    assert not await exists(history, wanted.turn_id)
    with pytest.raises(ApiError) as again:
        await history.client.admit(WORKSPACE, with_its_key(wanted))
    assert again.value.code is Code.SESSION_ENDED


async def test_a_repeated_call_that_finds_the_session_ended_withdraws_for_both(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(session_id)
    async with admitted_late(history, monkeypatch, wanted) as go_on:
        await end_unseen(history, session_id)
        with pytest.raises(ApiError) as refused:
            await history.client.admit(WORKSPACE, wanted)
        assert refused.value.code is Code.SESSION_ENDED
        with pytest.raises(ApiError) as first:
            await go_on()
    assert first.value.code is Code.SESSION_ENDED
    assert not await exists(history, wanted.turn_id)


async def test_a_deleted_session_keeps_no_turn_that_a_repeat_was_answered_with(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = order(session_id, idempotency_key="k")
    async with admitted_late(history, monkeypatch, wanted) as go_on:
        await history.client.admit(WORKSPACE, with_its_key(wanted))
        await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "deleted"}})
        with pytest.raises(ApiError) as refused:
            await go_on()
    assert refused.value.code is Code.SESSION_NOT_FOUND
    assert not await exists(history, wanted.turn_id)


@pytest.mark.parametrize("of_session", [False, True])
async def test_a_repeated_call_does_not_keep_the_retry_guard_from_withdrawing_a_turn(
    history: History, session_id: str, of_session: bool
) -> None:
    """An original and its retry that were both marked as answered would both run."""
    wanted = order(session_id, retry_key="r") if of_session else completion(retry_key="r")
    assert await history.client.admit(WORKSPACE, wanted) == await history.client.admit(WORKSPACE, wanted)
    assert (await history.document(wanted.turn_id))["joined"] is False
