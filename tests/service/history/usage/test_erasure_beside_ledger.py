"""What is erased while the ledger works: nothing that was used is lost, and nobody who was erased comes back."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from services.history.erasures import receipts
from services.history.mongo.filters import Document
from services.history.usage import ledger as ledger_module
from services.history.usage.entries import READ
from services.history.usage.ledger import Ledger
from shared.budgets.counters import Counter
from shared.budgets.periods import Period
from shared.budgets.store import Limit
from shared.contracts.budgets import Subject
from shared.contracts.end_users import EraseEndUser
from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History
from tests.service.history.usage.test_usage import ask, sums, totals, use


async def test_a_session_is_erased_once_the_ledger_has_its_turns(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that had no time for them was taken for one that has them, and their use was lost."""
    await history.publish()
    session = await history.session()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "WORKS_FOR_S", 0.0)
        turn_id = await history.answer(session)
        with pytest.raises(ApiError) as refused:
            await history.client.delete_session(WORKSPACE, session)
        assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
        assert (await history.document(turn_id))["unbilled"]

    async def is_erased() -> bool:
        row = await history.documents.sessions.find_one({"_id": session})
        return "erasing" not in row

    await eventually(is_erased, what="the erasure, by the reconciler")
    assert (await totals(history))["agt_demo"][:2] == (1, 5)


async def test_a_budget_is_not_measured_by_a_ledger_that_is_behind(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    monkeypatch.setattr(ledger_module, "WORKS_FOR_S", 0.0)
    turn_id = await ask(history, use(3, 2))
    period = Period.of("day", (await history.document(turn_id))["endedAt"])
    counter = Counter(WORKSPACE, Subject("agent", "agt_demo"), "budget", period)
    with pytest.raises(ApiError) as refused:
        await history.dependencies.gate.rebuild(Limit(counter, 100, None, 1))
    assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE


class _Slow:
    """The turns, as a process reads them that goes on only after `meanwhile`."""

    def __init__(self, turns: Any, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._turns = turns
        self._meanwhile = meanwhile

    async def many(self, *arguments: Any, **options: Any) -> list[Document]:
        rows: list[Document] = await self._turns.many(*arguments, **options)
        if options.get("fields") == READ:
            await self._meanwhile()
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turns, name)


async def test_an_end_user_who_is_erased_while_a_ledger_works_does_not_come_back(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of turns may take longer than the erasure: their sums were made anew after the receipt."""
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(seconds=0.5))
    await history.publish()
    other = Ledger(history.dependencies.database)
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "WORKS_FOR_S", 0.0)  # Nobody adds the turn before the other one has read it.
        turn_id = await ask(history, use(3, 2), end_user="ann")
        order = EraseEndUser(id=new_id("era"), end_user="ann")

        async def is_erased() -> bool:
            return (await history.client.end_user_erasure(WORKSPACE, order.id)).status == "erased"

        async def erases() -> None:
            assert (await history.document(turn_id))["unbilled"]
            patch.undo()
            await history.client.erase_end_user(WORKSPACE, order)
            await eventually(is_erased, within_s=20.0, what="the receipt")

        other._turns = _Slow(other._turns, erases)  # type: ignore[assignment]
        assert await other.bill()
    assert await history.documents.end_user_usage_days.find({}).to_list(None) == []
    assert await sums(history, endUser="ann") == []
    assert (await totals(history))["agt_demo"][:2] == (1, 5)


async def test_a_completion_that_is_erased_at_once_counts_for_its_end_user(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure forgets whose it was. The ledger has to know it before."""
    await history.publish()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "WORKS_FOR_S", 0.0)
        turn_id = await ask(history, use(3, 2), end_user="ann", store=True)
        with pytest.raises(ApiError) as refused:
            await history.client.delete_completion(WORKSPACE, turn_id)
        assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
    await history.client.delete_completion(WORKSPACE, turn_id)
    assert "endUserId" not in await history.document(turn_id)
    assert [row["turns"] for row in await sums(history, endUser="ann")] == [1]
