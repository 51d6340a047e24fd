"""Budgets in a history: checked at admission, reserved by the claim, charged at the end, rebuilt after a loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
import pytest

from shared.budgets.counters import LINES
from shared.budgets.reservation import must_wait, refused
from shared.contracts.budgets import Allowance, Budget, StoreBudget, Subject
from shared.contracts.errors import ApiError, Code
from shared.contracts.jobs import RunTurn
from shared.contracts.sessions import EndUser
from shared.contracts.turns import CompletionRequest, ModelUse, StartAttempt, Usage
from shared.ids import new_id
from shared.turn_queue import scripts
from shared.turn_queue.job import LeasedJob
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion, finished

AGENT = Subject("agent", "agt_demo")


async def put(history: History, subject: Subject, *, month: Allowance | None = None, **day: Any) -> Budget:
    order = StoreBudget(day=Allowance(**day) if day else None, month=month, actor="key_1")
    return await history.client.put_budget(WORKSPACE, subject, order)


async def admit(history: History, *, key_id: str = "key_1", end_user: str | None = None) -> str:
    request = CompletionRequest(end_user=EndUser(id=end_user) if end_user else None)
    order = completion().model_copy(update={"completion": request, "key_id": key_id})
    turn = (await history.client.admit(WORKSPACE, order)).turn
    await history.queue.enqueue(RunTurn(WORKSPACE, turn.id, "agt_demo", 1))
    return turn.id


async def claim(history: History) -> tuple[LeasedJob, bytes | None] | None:
    """As a worker takes a job, with what the claim says of its budgets. None: there is no job."""
    found = await history.queue.run_script(scripts.CLAIM, 60_000, uuid4().hex, 0, 1, "1", 0)
    if not found:
        return None
    turn_id, payload, claim_id, _, budget = found[0]
    order = RunTurn(WORKSPACE, turn_id.decode(), "agt_demo", 1)
    return LeasedJob(history.queue, order, claim_id.decode(), payload), budget


async def end(history: History, job: LeasedJob, tokens: int, attempt: int = 1, **members: Any) -> None:
    turn_id = job.job.turn_id
    order = StartAttempt(claim_id=job.claim_id, attempt=attempt)
    assert (await history.client.start_attempt(WORKSPACE, turn_id, order)).started
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1, total_tokens=tokens)
    uses = (ModelUse(upstream="default", model="demo", usage=usage),)
    assert await job.finish(finished(turn_id, attempt, usage=usage, uses=uses, **members))
    await history.wait_for_end(turn_id)


async def run(history: History, tokens: int, **asked: Any) -> str:
    turn_id = await admit(history, **asked)
    taken = await claim(history)
    assert taken is not None
    assert taken[1] is None
    await end(history, taken[0], tokens)
    return turn_id


@asynccontextmanager
async def refusal(code: Code = Code.BUDGET_EXCEEDED) -> AsyncIterator[ApiError]:
    error = ApiError(code)
    with pytest.raises(ApiError) as raised:
        yield error
    assert raised.value.code is code
    error.members, error.headers = raised.value.members, raised.value.headers


@pytest.mark.parametrize(
    ("subject", "other"),
    [
        (Subject("workspace"), None),
        (AGENT, None),
        (Subject("key", "key_1"), {"key_id": "key_2"}),
        (Subject("endUser", "ann: 1"), {"end_user": "bob"}),
    ],
)
async def test_a_used_up_budget_refuses_its_subject_and_nobody_else(
    history: History, subject: Subject, other: dict[str, str] | None
) -> None:
    await history.publish()
    await history.documents.keys.insert_one({"_id": "key_1", "workspace": WORKSPACE, "digest": "d", "revokedAt": None})
    await put(history, subject, tokens=100)
    await run(history, 60, end_user="ann: 1")
    await run(history, 60, end_user="ann: 1")
    async with refusal() as error:
        await admit(history, end_user="ann: 1")
    assert error.members["budget"] == {"subject": subject.kind, "period": "day"}
    assert error.members["resetsAt"].endswith("T00:00:00.000Z")
    assert 0 < int(error.headers["Retry-After"]) <= 86_400
    if other is not None:
        await run(history, 10, **other)
    shown = await history.client.budget(WORKSPACE, subject)
    assert shown.day is not None
    assert (shown.day.used_tokens, shown.day.exceeded, shown.subject) == (120, True, subject.text)


async def test_turns_that_run_leave_no_room_for_more_until_they_end(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=1200)
    for _ in range(4):
        await admit(history)
    claims = [await claim(history) for _ in range(4)]
    taken = [each for each in claims if each is not None]
    # An answer is taken to be 500 tokens: two fit.
    assert [must_wait(budget) for _, budget in taken] == [False, False, True, True]
    for job, budget in taken:
        if must_wait(budget):
            await job.requeue()
        else:
            await end(history, job, 700)
    last = [await claim(history) for _ in range(2)]
    errors = [refused(each[1]) for each in last if each is not None]
    assert [error.code for error in errors if error is not None] == [Code.BUDGET_EXCEEDED] * 2


async def test_a_turn_that_is_taken_over_keeps_its_reservation_and_is_charged_once(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=600)
    turn_id = await admit(history)
    first = await claim(history)
    await history.lapse(turn_id)
    second = await claim(history)
    assert first is not None
    assert second is not None
    assert second[1] is None
    await end(history, second[0], 50)
    result = finished(turn_id, 1, usage=Usage(prompt_tokens=49, completion_tokens=1, total_tokens=50))
    await history.dependencies.finalizer.finish(result)
    await run(history, 50)
    shown = await history.client.budget(WORKSPACE, AGENT)
    assert shown.day is not None
    assert shown.day.used_tokens == 100
    assert await counter_of(history, "tokens") == 100
    assert await counter_of(history, "heldTokens") == 0


async def counter_of(history: History, field: str) -> int:
    (key,) = [key async for key in history.queue.scan_iter("parley:budgets:acme:agent:*")]
    return int(await history.queue.hget(key, field) or 0)  # type: ignore[misc]


async def test_a_flush_forgets_nothing(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=1000)
    await run(history, 300)
    running, waiting = await admit(history), None
    taken = await claim(history)
    assert taken is not None
    order = StartAttempt(claim_id=taken[0].claim_id, attempt=1)
    assert (await history.client.start_attempt(WORKSPACE, running, order)).started
    waiting = await admit(history)
    await history.queue.flushall()
    # As its worker does.
    await history.queue.run_script(scripts.RESTORE, 60_000, running, taken[0].claim_id, taken[0].payload)

    async def is_noted() -> bool:
        lines = await history.queue.hgetall(LINES)  # type: ignore[misc]
        return {running.encode(), waiting.encode()} <= set(lines)

    await eventually(is_noted, within_s=10.0, what="both turns noted again")
    assert (await counter_of(history, "tokens"), await counter_of(history, "heldTokens")) == (300, 500)
    assert await taken[0].finish(
        finished(running, 1, usage=Usage(prompt_tokens=700, completion_tokens=50, total_tokens=750))
    )
    await history.wait_for_end(running)
    async with refusal():
        await admit(history)


async def test_reservations_of_turns_that_ended_otherwise_are_released(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=10_000)
    turn_id = await admit(history)
    assert await claim(history) is not None
    await history.client.cancel(WORKSPACE, turn_id)
    await history.lapse(turn_id)
    await eventually(lambda: has_ended(history, turn_id), within_s=10.0)
    assert await counter_of(history, "heldTokens") == 0
    assert await history.queue.hlen(LINES) == 0  # type: ignore[misc]


async def has_ended(history: History, turn_id: str) -> bool:
    return not (await history.document(turn_id))["active"]


async def test_a_reservation_that_nobody_released_is_released_by_the_reconciler(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=10_000)
    turn_id = await admit(history)
    assert await claim(history) is not None
    # As if its session had been erased by a process that died before it charged the turn.
    old = "trn_00000000000000000000000001"
    line = await history.queue.hget(LINES, turn_id)  # type: ignore[misc]
    await history.queue.hset(LINES, old, line)  # type: ignore[misc]
    key = orjson.loads(line)["counters"][0]
    await history.queue.hset(key, f"h:{old}", "500 0")  # type: ignore[misc]
    await history.queue.hincrby(key, "heldTokens", 500)  # type: ignore[misc]
    await history.dependencies.gate.reconcile()
    assert await counter_of(history, "heldTokens") == orjson.loads(line)["tokens"]
    assert await history.queue.hexists(LINES, old) is False  # type: ignore[misc]


async def test_a_limit_below_what_is_used_refuses_from_then_on_and_a_removed_one_no_more(history: History) -> None:
    await history.publish()
    await put(history, AGENT, month=Allowance(tokens=1000))
    await run(history, 300)
    waiting = await admit(history)
    shown = await put(history, AGENT, month=Allowance(tokens=200))
    assert shown.month is not None
    assert (shown.month.exceeded, shown.month.used_tokens, shown.day) == (True, 300, None)
    async with refusal() as error:
        await admit(history)
    assert error.members["budget"]["period"] == "month"
    taken = await claim(history)
    assert taken is not None
    assert taken[0].job.turn_id == waiting
    assert refused(taken[1]) is not None
    await taken[0].requeue()
    await history.client.remove_budget(WORKSPACE, AGENT, "key_1")
    taken = await claim(history)
    assert taken is not None
    assert taken[1] is None
    async with refusal(Code.NOT_FOUND):
        await history.client.budget(WORKSPACE, AGENT)
    async with refusal(Code.NOT_FOUND):
        await history.client.remove_budget(WORKSPACE, AGENT)
    page = await history.client.audit(WORKSPACE, {})
    assert [item["action"] for item in page["items"] if item["action"].startswith("budget.")] == [
        "budget.removed",
        "budget.changed",
        "budget.changed",
    ]


async def test_a_repeat_of_an_admitted_turn_is_answered_although_the_budget_is_used_up(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=100)
    order = completion().model_copy(update={"key_id": "key_1", "idempotency_key": "once"})
    first = await history.client.admit(WORKSPACE, order)
    await history.queue.enqueue(RunTurn(WORKSPACE, first.turn.id, "agt_demo", 1))
    taken = await claim(history)
    assert taken is not None
    await end(history, taken[0], 100)
    again = await history.client.admit(WORKSPACE, order.model_copy(update={"turn_id": new_id("trn")}))
    assert (again.created, again.turn.id) == (False, first.turn.id)
    async with refusal():
        await admit(history)


async def test_a_publishable_keys_daily_tokens_are_a_budget(history: History) -> None:
    await history.publish()
    key = {"_id": "key_p", "workspace": WORKSPACE, "digest": "p", "agentId": "agt_demo", "dailyTokens": 100}
    await history.documents.keys.insert_one(key)
    await run(history, 100, key_id="key_p")
    async with refusal():
        await admit(history, key_id="key_p")
    await run(history, 100, key_id="key_1")


async def test_concurrent_admissions_at_the_edge_are_charged_exactly(history: History) -> None:
    await history.publish()
    await put(history, AGENT, tokens=10_000)
    await asyncio.gather(*(admit(history) for _ in range(20)))
    ended = 0
    while (taken := await claim(history)) is not None:
        assert taken[1] is None or must_wait(taken[1])
        if must_wait(taken[1]):
            await taken[0].requeue()
            continue
        await end(history, taken[0], 101)
        ended += 1
    assert ended == 20
    assert (await counter_of(history, "tokens"), await counter_of(history, "heldTokens")) == (2020, 0)
    usage = await history.client.usage(WORKSPACE, {"groupBy": "agent"})
    assert [row["totalTokens"] for row in usage["items"]] == [2020]
