"""The guard against a client's blind repeats: whatever arrives first, one turn remains and every answer names it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.history.turns import retry_guard
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn, AdmitTurn
from tests.service.history.running import WORKSPACE, History, completion, finished
from tests.system.stack import gather_bounded, seeded

Insert = Callable[[dict[str, Any]], Awaitable[None]]


def original(key: str = "r") -> AdmitTurn:
    return completion(retry_key=key)


def retry(key: str = "r") -> AdmitTurn:
    return completion(retry_key=key, is_retry=True)


async def admit(history: History, order: AdmitTurn) -> AdmittedTurn:
    return await history.client.admit(WORKSPACE, order)


async def admitted(history: History, order: AdmitTurn) -> AdmittedTurn:
    """Without the client, which would not wait long enough for a busy host."""
    return AdmittedTurn.model_validate_json(await history.dependencies.nouns.admission.admit(WORKSPACE, order))


async def ended(history: History, turn_id: str, **members: Any) -> str:
    lease = await history.claim(turn_id)
    assert await lease.job.finish(finished(turn_id, lease.claimed.attempt, **members))
    await history.wait_for_end(turn_id)
    return turn_id


async def turns_of(history: History, key: str) -> list[str]:
    return [
        row["_id"]
        for row in await history.documents.turns.find({"workspace": WORKSPACE, "retryKey": key}).to_list(None)
    ]


async def assert_one_remains(history: History, key: str, *answers: AdmittedTurn) -> str:
    """And every answer names it, of which one says that it is new: so it is enqueued once."""
    (remains,) = await turns_of(history, key)
    assert {answer.turn.id for answer in answers} == {remains}
    assert sum(answer.created for answer in answers) == 1
    assert not any(answer.snapshot for answer in answers if not answer.created), (
        "a snapshot goes only with its own turn"
    )
    return remains


def around_inserts(
    history: History, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Insert, dict[str, Any]], Awaitable[None]]
) -> None:
    """Puts `wrap` in the place of the insert of each turn."""
    turns = history.dependencies.database.turns
    insert = turns.insert
    monkeypatch.setattr(turns, "insert", lambda document: wrap(insert, document))


async def test_a_retry_gets_the_turn_that_runs_and_an_equal_request_its_own(history: History) -> None:
    await history.publish()
    first = (await history.client.admit(WORKSPACE, completion(retry_key="r"))).turn
    again = await history.client.admit(WORKSPACE, completion(retry_key="r", is_retry=True))
    assert (again.created, again.turn.id) == (False, first.id)
    meant = await history.client.admit(WORKSPACE, completion(retry_key="r"))
    assert meant.created
    assert (await history.client.admit(WORKSPACE, completion(retry_key="r", is_retry=True))).turn.id == meant.turn.id
    assert (await history.client.admit(WORKSPACE, completion(retry_key="other", is_retry=True))).created
    assert (await history.client.admit(WORKSPACE, completion(is_retry=True))).created


async def test_a_retry_gets_the_answer_of_a_turn_that_has_just_ended_but_not_of_an_old_one(history: History) -> None:
    await history.publish()
    turn_id = await ended(
        history, (await history.client.admit(WORKSPACE, completion(retry_key="r"))).turn.id, reply="Once."
    )
    again = await history.client.admit(WORKSPACE, completion(retry_key="r", is_retry=True))
    assert (again.turn.id, [message.content for message in again.output]) == (turn_id, ["Once."])
    at = (await history.document(turn_id))["endedAt"]
    await history.documents.turns.update_one({"_id": turn_id}, {"$set": {"endedAt": at.replace(year=at.year - 1)}})
    assert (await history.client.admit(WORKSPACE, completion(retry_key="r", is_retry=True))).created


@pytest.mark.parametrize(("retryable", "created"), [(True, True), (False, False)])
async def test_a_retry_after_a_passing_failure_is_a_new_turn(history: History, retryable: bool, created: bool) -> None:
    await history.publish()
    turn_id = (await history.client.admit(WORKSPACE, completion(retry_key="r"))).turn.id
    problem = ApiError(Code.UPSTREAM_ERROR, retryable=retryable).problem()
    await ended(history, turn_id, status="failed", error=problem, finish_reason=None, output=())
    assert (await history.client.admit(WORKSPACE, completion(retry_key="r", is_retry=True))).created is created


# --- a retry that overtakes what it repeats


async def test_an_original_that_was_overtaken_gets_the_turn_of_its_retry(history: History) -> None:
    await history.publish()
    first = await admit(history, retry())
    late = await admit(history, original())
    await assert_one_remains(history, "r", first, late)
    # It is met once: the next equal request is meant.
    assert (await admit(history, original())).created
    assert len(await turns_of(history, "r")) == 2


async def test_an_original_that_was_overtaken_gets_the_answer_that_its_retry_got(history: History) -> None:
    await history.publish()
    turn_id = await ended(history, (await admit(history, retry())).turn.id, reply="Once.")
    late = await admit(history, original())
    assert (late.turn.id, [message.content for message in late.output]) == (turn_id, ["Once."])


@pytest.mark.parametrize("failed", [True, False])
async def test_a_retry_that_is_no_answer_any_more_is_left_alone(history: History, failed: bool) -> None:
    await history.publish()
    turn_id = (await admit(history, retry())).turn.id
    if failed:
        problem = ApiError(Code.UPSTREAM_ERROR, retryable=True).problem()
        await ended(history, turn_id, status="failed", error=problem, finish_reason=None, output=())
    else:
        at = (await history.document(turn_id))["createdAt"]
        await history.documents.turns.update_one(
            {"_id": turn_id}, {"$set": {"createdAt": at.replace(year=at.year - 1)}}
        )
    assert (await admit(history, original())).created


async def test_a_retry_that_nobody_met_does_not_stand_in_the_way_of_a_later_one(history: History) -> None:
    await history.publish()
    turn_id = await ended(history, (await admit(history, retry())).turn.id)
    at = (await history.document(turn_id))["endedAt"].replace(year=2025)
    await history.documents.turns.update_one({"_id": turn_id}, {"$set": {"createdAt": at, "endedAt": at}})
    again = await admit(history, retry())
    assert again.created
    assert (await admit(history, original())).turn.id == again.turn.id


async def test_a_retry_whose_original_came_between_its_look_and_its_insert_withdraws(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    looked, admitted = asyncio.Event(), asyncio.Event()
    second = retry()

    async def hold(insert: Insert, document: dict[str, Any]) -> None:
        if document["_id"] == second.turn_id:
            looked.set()
            await admitted.wait()
        await insert(document)

    around_inserts(history, monkeypatch, hold)
    retrying = asyncio.create_task(admit(history, second))
    await looked.wait()
    first = await admit(history, original())
    admitted.set()
    assert await assert_one_remains(history, "r", first, await retrying) == first.turn.id


async def test_of_two_that_are_inserted_before_either_looks_one_remains(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    looked, inserted = asyncio.Barrier(2), asyncio.Barrier(2)

    async def meet(insert: Insert, document: dict[str, Any]) -> None:
        await looked.wait()
        await insert(document)
        await inserted.wait()

    around_inserts(history, monkeypatch, meet)
    for number in range(30):
        key = f"r{number}"
        await assert_one_remains(
            history, key, *await asyncio.gather(admit(history, original(key)), admit(history, retry(key)))
        )


async def test_of_many_pairs_and_threes_at_once_one_of_each_remains(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the host is: no decision is taken for one whose process has died.
    monkeypatch.setattr(retry_guard, "UNDECIDED", timedelta(minutes=10))
    monkeypatch.setattr(retry_guard, "LOOKS", 10_000)
    await history.publish()
    chance = seeded()

    async def late(insert: Insert, document: dict[str, Any]) -> None:
        before, after = chance.uniform(0, 0.02), chance.uniform(0, 0.02)
        await asyncio.sleep(before)
        await insert(document)
        await asyncio.sleep(after)

    around_inserts(history, monkeypatch, late)

    async def together(number: int) -> None:
        key = f"r{number}"
        orders = [original(key), *(retry(key) for _ in range(1 + number % 2))]
        chance.shuffle(orders)
        await assert_one_remains(history, key, *await asyncio.gather(*(admitted(history, order) for order in orders)))

    await gather_bounded(60, 5, together)


async def test_two_retries_that_find_nothing_are_one_turn(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    await history.publish()
    looked = asyncio.Barrier(2)

    async def meet(insert: Insert, document: dict[str, Any]) -> None:
        await looked.wait()
        await insert(document)

    around_inserts(history, monkeypatch, meet)
    await assert_one_remains(history, "r", *await asyncio.gather(admit(history, retry()), admit(history, retry())))


async def test_what_a_worker_has_claimed_is_not_withdrawn(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    await history.publish()
    overtaken = original()
    first = await admit(history, retry())

    async def claimed_at_once(insert: Insert, document: dict[str, Any]) -> None:
        await insert(document)
        await history.claim(document["_id"])

    around_inserts(history, monkeypatch, claimed_at_once)
    late = await admit(history, overtaken)
    # Both run: whoever waits for either of them gets an answer.
    assert (late.created, late.turn.id) == (True, overtaken.turn_id)
    assert set(await turns_of(history, "r")) == {first.turn.id, late.turn.id}


async def test_a_further_retry_is_answered_with_the_one_that_stays(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    first, late = await admit(history, retry()), original()
    turns, taken_over, released = history.dependencies.database.turns, asyncio.Event(), asyncio.Event()
    delete = turns.delete

    async def pause(where: Any) -> bool:
        taken_over.set()
        await released.wait()
        return await delete(where)

    monkeypatch.setattr(turns, "delete", pause)
    withdrawing = asyncio.create_task(admit(history, late))
    await taken_over.wait()
    joined = await admit(history, retry())
    released.set()
    await assert_one_remains(history, "r", first, joined, await withdrawing)


async def test_an_original_that_a_retry_was_answered_with_is_not_withdrawn(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    fast, overtaken = retry(), original()
    at = {order.turn_id: (asyncio.Event(), asyncio.Event()) for order in (fast, overtaken)}
    looked, met = asyncio.Event(), asyncio.Event()

    async def pause(insert: Insert, document: dict[str, Any]) -> None:
        inserted, released = at[document["_id"]]
        if document["_id"] == fast.turn_id:
            looked.set()
            await met.wait()
        await insert(document)
        inserted.set()
        await released.wait()

    around_inserts(history, monkeypatch, pause)
    tasks = [asyncio.create_task(admit(history, fast))]
    await looked.wait()
    tasks.append(asyncio.create_task(admit(history, overtaken)))
    await at[overtaken.turn_id][0].wait()
    joined = await admit(history, retry())
    met.set()
    await at[fast.turn_id][0].wait()
    at[overtaken.turn_id][1].set()
    late = await tasks[1]
    at[fast.turn_id][1].set()
    remains = await assert_one_remains(history, "r", await tasks[0], joined, late)
    assert remains == overtaken.turn_id


@pytest.mark.parametrize("first", ["original", "retry"])
@pytest.mark.parametrize("older_id", ["original", "retry"])
async def test_of_two_whose_processes_are_slow_the_one_that_a_third_joins_remains(
    history: History, monkeypatch: pytest.MonkeyPatch, first: str, older_id: str
) -> None:
    """Both are inserted and neither has looked again, for longer than the third waits for them to decide."""
    monkeypatch.setattr(retry_guard, "UNDECIDED", timedelta(0))
    await history.publish()
    orders = {"original": original, "retry": retry}
    made = {name: orders[name]() for name in sorted(orders, key=lambda name: name != older_id)}
    sequence = [made.pop(first), *made.values()]
    looked = {order.turn_id: asyncio.Event() for order in sequence}
    inserted = {order.turn_id: asyncio.Event() for order in sequence}
    turn_of, released = {order.turn_id: asyncio.Event() for order in sequence}, asyncio.Event()

    async def pause(insert: Insert, document: dict[str, Any]) -> None:
        turn_id = document["_id"]
        if turn_id in looked:
            looked[turn_id].set()
            await turn_of[turn_id].wait()
            # The time of the insert, as two histories would have it that insert one after the other.
            document["createdAt"] = datetime.now(UTC)
        await insert(document)
        if turn_id in looked:
            inserted[turn_id].set()
            await released.wait()

    around_inserts(history, monkeypatch, pause)
    tasks = [asyncio.create_task(admit(history, order)) for order in sequence]
    for order in sequence:
        await looked[order.turn_id].wait()
    for order in sequence:
        turn_of[order.turn_id].set()
        await inserted[order.turn_id].wait()
    joined = await admit(history, retry())
    released.set()
    await assert_one_remains(history, "r", *await asyncio.gather(*tasks), joined)


async def test_an_orphan_that_a_retry_was_answered_with_is_not_withdrawn(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    inserted, released = asyncio.Event(), asyncio.Event()
    second = retry()

    async def pause(insert: Insert, document: dict[str, Any]) -> None:
        await insert(document)
        if document["_id"] == second.turn_id:
            inserted.set()
            await released.wait()

    around_inserts(history, monkeypatch, pause)
    retrying = asyncio.create_task(admit(history, second))
    await inserted.wait()
    joined = await admit(history, retry())
    late = await admit(history, original())
    released.set()
    await assert_one_remains(history, "r", await retrying, joined, late)


async def test_keys_without_the_guard_pay_nothing(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    await history.publish()
    turns, calls = history.dependencies.database.turns, list[str]()
    await history.dependencies.reconciler.__aexit__(None, None, None)  # It reads turns too.

    def noting(name: str, call: Any) -> Any:
        def note(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return call(*arguments, **named)

        return note

    for name in ("one", "many", "insert", "update", "delete"):
        monkeypatch.setattr(turns, name, noting(name, getattr(turns, name)))
    turn_id = (await admit(history, completion(is_retry=True))).turn.id
    assert calls == ["insert"]
    assert not {"orphan", "joined", "retryKey"} & set(await history.document(turn_id))
