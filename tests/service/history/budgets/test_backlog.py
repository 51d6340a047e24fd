"""Sums while the ledger lacks turns: budgets and usage answer within a bound, and say what they lack."""

import asyncio
from typing import Any, NoReturn

import pytest

from services.history.usage import billing
from services.history.usage.ledger import Backlog, Ledger
from shared.contracts.budgets import Allowance, Budget, StoreBudget, Subject
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import ModelUse, Usage
from tests.service.history.running import WORKSPACE, History, completion, finished

AGENT = Subject("agent", "agt_demo")
ANN = Subject("endUser", "ann")


async def ended(history: History, tokens: int) -> None:
    turn_id = (await history.client.admit(WORKSPACE, completion())).turn.id
    lease = await history.claim(turn_id)
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1, total_tokens=tokens)
    uses = (ModelUse(upstream="default", model="demo", usage=usage),)
    assert await lease.job.finish(finished(turn_id, lease.claimed.attempt, usage=usage, uses=uses))
    await history.wait_for_end(turn_id)


async def put(history: History, *subjects: Subject) -> None:
    order = StoreBudget(day=Allowance(tokens=100), month=Allowance(tokens=1000), actor="key_1")
    for subject in subjects:
        await history.client.put_budget(WORKSPACE, subject, order)


async def budgets(history: History) -> list[Budget]:
    page = await history.client.budgets(WORKSPACE, {})
    return [Budget.model_validate(item) for item in page["items"]]


async def never(*_: Any) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


def at_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the ledger."""
    for limit in ("_within_s", "_counted_within_s"):
        monkeypatch.setattr(history.dependencies.nouns.usage._billing, limit, 0.05)


async def test_budgets_with_a_backlog_say_what_they_lack_and_are_exact_later(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    await put(history, AGENT, ANN, Subject("workspace"))
    await history.dependencies.reconciler.loops.end()
    await ended(history, 30)
    assert {budget.day.used_tokens for budget in await budgets(history) if budget.day} == {30, 0}
    await ended(history, 12)
    at_once(history, monkeypatch)
    with monkeypatch.context() as slow:
        slow.setattr(history.dependencies.nouns.usage._billing, "_counted_within_s", 60.0)
        slow.setattr(history.dependencies.nouns.ledger, "bill", never)
        for shown in (*await budgets(history), await history.client.budget(WORKSPACE, AGENT)):
            assert shown.pending is not None
            assert shown.pending.turns == 1
            assert shown.pending.exact_before is not None
            assert shown.day is not None
            assert shown.day.used_tokens == (0 if shown.subject == "endUser:ann" else 30)
    monkeypatch.undo()
    for shown in await budgets(history):
        assert shown.pending is None
        assert shown.month is not None
        assert shown.month.used_tokens == (0 if shown.subject == "endUser:ann" else 42)


async def test_a_backlog_that_cannot_be_counted_in_time_is_told_without_numbers(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the embedded database is, which reads all of it to count it."""
    await history.publish()
    await put(history, AGENT)
    await history.dependencies.reconciler.loops.end()
    await ended(history, 30)
    at_once(history, monkeypatch)
    ledger = history.dependencies.nouns.ledger
    monkeypatch.setattr(ledger, "bill", never)
    monkeypatch.setattr(ledger, "backlog", never)
    page = await history.client.usage(WORKSPACE, {"groupBy": "agent"})
    assert (page["items"], page["pending"]) == ([], {})
    (shown,) = await budgets(history)
    assert shown.pending == billing.UNKNOWN
    assert shown.wire()["pending"] == {}


async def test_a_page_of_budgets_asks_the_ledger_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    await history.publish()
    await put(history, AGENT, Subject("workspace"), *(Subject("endUser", f"user {number}") for number in range(3)))
    await history.dependencies.reconciler.loops.end()
    asked = list[str | None]()
    bill, rows = Ledger.bill, Ledger.rows

    async def counted_bill(self: Ledger, workspace: str | None = None) -> bool:
        asked.append(workspace)
        return await bill(self, workspace)

    async def counted_rows(self: Ledger, *given: Any, **named: Any) -> list[dict[str, Any]]:
        asked.append("rows")
        return await rows(self, *given, **named)

    monkeypatch.setattr(Ledger, "bill", counted_bill)
    monkeypatch.setattr(Ledger, "rows", counted_rows)
    assert len(await budgets(history)) == 5
    # Of the workspace, and of each end user.
    assert sorted(asked, key=str) == [WORKSPACE, "rows", "rows", "rows", "rows"]


async def test_a_counter_is_not_filled_with_sums_that_lack_turns(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    await put(history, AGENT)
    await ended(history, 30)

    async def unfinished(workspace: str | None = None) -> bool:
        return False

    monkeypatch.setattr(history.dependencies.nouns.ledger, "bill", unfinished)
    await history.queue.flushall()
    with pytest.raises(ApiError) as raised:
        await history.client.admit(WORKSPACE, completion())
    assert raised.value.code is Code.DEPENDENCY_UNAVAILABLE
    monkeypatch.undo()
    await ended(history, 20)
    shown = await history.client.budget(WORKSPACE, AGENT)
    assert shown.day is not None
    assert shown.day.used_tokens == 50


def test_a_backlog_that_is_done_meanwhile_lacks_nothing() -> None:
    """The sums are read again after the count: a turn that is added in between is in them."""

    class Emptied(Ledger):
        def __init__(self) -> None:
            self.read = 0

        async def bill(self, workspace: str | None = None) -> bool:
            return False

        async def backlog(self, workspace: str) -> Backlog | None:
            return None

    ledger = Emptied()

    async def sums() -> int:
        ledger.read += 1
        return ledger.read

    assert asyncio.run(billing.Billing(ledger).read(WORKSPACE, sums)) == (2, None)


@pytest.mark.parametrize("is_complete", [True, False])
async def test_sums_that_a_busy_database_does_not_read_are_refused_in_time(
    history: History, monkeypatch: pytest.MonkeyPatch, is_complete: bool
) -> None:
    """By history itself: a gateway that waits longer gives this history up."""
    await history.publish()
    await put(history, AGENT)
    await history.dependencies.reconciler.loops.end()
    billings = history.dependencies.nouns.usage._billing
    assert billing.READ_WITHIN_S + billing.COUNTED_WITHIN_S + billing.READ_AGAIN_WITHIN_S < 5.0
    monkeypatch.setattr(billings, "_read_within_s", 0.1)
    monkeypatch.setattr(billings, "_within_s", 60.0 if is_complete else 0.05)
    if not is_complete:
        monkeypatch.setattr(history.dependencies.nouns.ledger, "bill", never)
    monkeypatch.setattr(history.dependencies.nouns.ledger, "rows", never)
    with pytest.raises(ApiError, match="too busy to read the sums of usage") as usage:
        await history.client.usage(WORKSPACE, {"groupBy": "agent"})
    with pytest.raises(ApiError) as shown:
        await budgets(history)
    assert {usage.value.code, shown.value.code} == {Code.DEPENDENCY_UNAVAILABLE}


def test_sums_that_are_not_read_again_in_time_are_told_to_lack_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "READ_AGAIN_WITHIN_S", 0.01)
    reads = 0

    class Behind(Ledger):
        def __init__(self) -> None:
            pass

        async def bill(self, workspace: str | None = None) -> bool:
            return False

        async def backlog(self, workspace: str) -> Backlog | None:
            return None

    async def sums() -> int:
        nonlocal reads
        reads += 1
        if reads > 1:
            await never()
        return reads

    assert asyncio.run(billing.Billing(Behind()).read(WORKSPACE, sums)) == (1, billing.UNKNOWN)
