"""A turn that slips into a session while it is erased, or is repaired beside others: nothing of it stays or is lost."""

from typing import Any
from unittest.mock import AsyncMock

import pytest
from redis.exceptions import RedisError

from services.history.mongo.collection import Collection
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import TurnRecord
from services.history.usage.ledger import Ledger
from shared.contracts.turns import TurnLimits
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.reconcile.test_reconciler import age
from tests.service.history.running import WORKSPACE, History, order
from tests.service.history.turns.test_slipped_turns import admitted_late, delete, end, exists
from tests.service.history.usage.test_usage import totals

PLACES = "parley:places:key:key_1"


class Killed(Exception):
    """The process is gone."""


@pytest.fixture
async def session_id(history: History) -> str:
    await history.publish()
    return await history.session()


async def is_erased(history: History, session_id: str) -> bool:
    session = await history.documents.sessions.find_one({"_id": session_id})
    return await history.count(sessionId=session_id) == 0 and "erasing" not in session


async def test_an_active_turn_is_ended_before_it_is_erased(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slipped in when the erasure had looked for an active turn: its place and its reservation come back."""
    plain, ended = Collection.many, list[str]()
    wanted = order(session_id, key_id="key_1", limits=TurnLimits(key=1))
    end_of = TurnFinalizer.end

    async def noted(self: TurnFinalizer, record: TurnRecord, *arguments: Any) -> bool:
        ended.append(record.id)
        return await end_of(self, record, *arguments)

    monkeypatch.setattr(TurnFinalizer, "end", noted)
    async with admitted_late(history, monkeypatch, wanted) as go_on:

        async def many(self: Collection, where: Any, **options: Any) -> Any:
            if self.name == "turns" and "usage" in (options.get("fields") or ()) and "sessionId" in where:
                await go_on()
            return await plain(self, where, **options)

        monkeypatch.setattr(Collection, "many", many)
        await delete(history, session_id)
        assert (await go_on()).turn.id == wanted.turn_id
    await eventually(lambda: is_erased(history, session_id), what="the erasure")
    assert set(ended) == {wanted.turn_id}
    assert await history.queue.zscore(PLACES, wanted.turn_id) is None


async def test_a_turn_that_ended_behind_the_bill_is_billed_before_it_is_erased(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await history.answer(session_id)
    plain = Ledger.must_bill
    late = [{**await history.document(first), "_id": new_id("trn"), "n": 2, "unbilled": True}]

    async def must_bill(self: Ledger, workspace: str) -> None:
        await plain(self, workspace)
        if late:  # Once: the reconciler may erase the session at the same time.
            await history.documents.turns.insert_one(late.pop())

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "must_bill", must_bill)
        patch.setattr(Ledger, "reconcile", AsyncMock())
        await history.documents.turns.update_one({"_id": first}, {"$set": {"unbilled": True}})
        await delete(history, session_id)
    await eventually(lambda: is_erased(history, session_id), what="the erasure")
    assert (await totals(history))["agt_demo"][:2] == (2, 10)


async def test_a_killed_erasure_leaves_the_mark_of_a_turn_that_it_has_not_seen(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn was about to end, and marked its session, when the erasure took its own mark away."""
    turn_id = await history.answer(session_id)
    slipped, plain = {**await history.document(turn_id), "_id": new_id("trn"), "n": 2}, Collection.update
    finalizer = history.dependencies.finalizer

    async def update(self: Collection, where: Any, change: Any) -> Any:
        if (self.name, change) != ("sessions", {"$unset": {"erasing": ""}}) or not slipped:
            return await plain(self, where, change)
        await finalizer._count(TurnRecord.model_validate(slipped))
        await plain(self, where, change)
        await history.documents.turns.insert_one(dict(slipped))
        slipped.clear()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Collection, "update", update)
        with pytest.raises(Killed):
            await history.dependencies.nouns.sessions.erase(WORKSPACE, session_id)
    assert not slipped
    await eventually(lambda: is_erased(history, session_id), what="the erasure, by the reconciler")


async def test_a_slipped_turn_that_cannot_be_erased_does_not_hold_up_the_other_turns(
    history: History, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Redis of its run log is away, perhaps for good."""
    stuck = (await history.admit(session_id)).turn.id
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "deleted"}})
    lost = (await history.admit(await history.session())).turn.id
    plain = TurnFinalizer.end

    async def ended(self: TurnFinalizer, record: TurnRecord, *arguments: Any) -> bool:
        if record.id == stuck:
            raise RedisError
        return await plain(self, record, *arguments)

    async def has_job() -> bool:
        return not await history.queue.missing([lost])

    with monkeypatch.context() as patch:
        patch.setattr(TurnFinalizer, "end", ended)
        await eventually(has_job, what="the other turn's job")
        assert await exists(history, stuck)
    await eventually(lambda: is_erased(history, session_id), what="the erasure")


async def test_a_turn_of_an_ended_session_fails_at_its_deadline(history: History, session_id: str) -> None:
    """Its worker renews the lease and does not hear that the turn was cancelled."""
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    await end(history, session_id)
    await age(history, turn_id, createdAt=400, firstClaimAt=306)
    await history.wait_for_end(turn_id)
    assert (await history.document(turn_id))["error"]["code"] == "turn_timeout"
