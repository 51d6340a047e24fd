"""An original that is killed between the writes of its withdrawal: only its retry's turn runs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from services.history.mongo.collection import Collection
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn, AdmitTurn
from tests.service.history.running import WORKSPACE, History, completion

# The insert, the mark, the orphan's new owner, the deletion. After the last one only the answer is lost.
WRITES = 4
LEFT: ContextVar[list[int] | None] = ContextVar("left", default=None)


class Killed(Exception):
    """The process is gone: no write after this one either."""


@pytest.fixture(autouse=True)
def cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of the test's own task only: the reconciler goes on."""
    for name in ("insert", "update", "delete"):
        monkeypatch.setattr(Collection, name, _cut(getattr(Collection, name)))


def _cut(write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def counted(self: Collection, *arguments: Any) -> Any:
        left = LEFT.get()
        if left is not None and self.name == "turns":
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return await write(self, *arguments)

    return counted


async def admitted(history: History, order: AdmitTurn) -> AdmittedTurn:
    return AdmittedTurn.model_validate_json(await history.dependencies.nouns.admission.admit(WORKSPACE, order))


async def killed_after(writes: int, history: History, order: AdmitTurn) -> None:
    left = [writes]
    token = LEFT.set(left)
    try:
        await admitted(history, order)
    except Killed:
        pass
    finally:
        LEFT.reset(token)
    assert left == [0], "it made fewer writes than that"


@pytest.fixture
async def overtaken(history: History) -> tuple[str, AdmitTurn]:
    """The turn of a retry that was answered, and then the order of its original."""
    await history.publish()
    first = await admitted(history, completion(retry_key="r", is_retry=True))
    await history.enqueue(first.turn.id)
    return first.turn.id, completion(retry_key="r")


async def turns(history: History) -> list[str]:
    rows = await history.documents.turns.find({"workspace": WORKSPACE, "retryKey": "r"}).to_list(None)
    return sorted(row["_id"] for row in rows)


async def a_round_later(history: History) -> None:
    for turn_id in await turns(history):  # So that they are old enough for the reconciler.
        at = (await history.document(turn_id))["createdAt"] - timedelta(seconds=10)
        await history.documents.turns.update_one({"_id": turn_id}, {"$set": {"createdAt": at}})
    await history.dependencies.reconciler.round()


@pytest.mark.parametrize("writes", range(1, WRITES + 1))
async def test_the_repeated_call_is_answered_with_the_retrys_turn(
    history: History, overtaken: tuple[str, AdmitTurn], writes: int
) -> None:
    stays, original = overtaken
    await killed_after(writes, history, original)
    again = await admitted(history, original.model_copy(update={"called_again": True}))
    assert (again.turn.id, again.created, again.snapshot) == (stays, False, None)
    assert await turns(history) == [stays]


@pytest.mark.parametrize("writes", range(1, WRITES))
async def test_the_repeated_call_is_answered_with_the_retrys_turn_when_a_budget_is_used_up_since(
    history: History, overtaken: tuple[str, AdmitTurn], monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    async def used_up(*_: Any) -> ApiError:
        return ApiError(Code.BUDGET_EXCEEDED)

    stays, original = overtaken
    await killed_after(writes, history, original)
    monkeypatch.setattr(history.dependencies.nouns.admission._gate, "admit", used_up)
    again = await admitted(history, original.model_copy(update={"called_again": True}))
    assert (again.turn.id, again.created) == (stays, False)
    assert await turns(history) == [stays]


@pytest.mark.parametrize("writes", range(2, WRITES + 1))
async def test_the_reconciler_completes_the_withdrawal_and_makes_no_job(
    history: History, overtaken: tuple[str, AdmitTurn], writes: int
) -> None:
    stays, original = overtaken
    await killed_after(writes, history, original)
    await a_round_later(history)
    assert await turns(history) == [stays]
    assert await history.queue.missing([original.turn_id, stays]) == [original.turn_id]


@pytest.mark.parametrize("writes", range(3, WRITES + 1))
async def test_a_repeated_call_that_is_killed_behind_its_insert_makes_no_job(
    history: History, overtaken: tuple[str, AdmitTurn], writes: int
) -> None:
    """It inserts the withdrawn turn a second time, which has no mark of the withdrawal."""
    stays, original = overtaken
    await killed_after(writes, history, original)
    await killed_after(1, history, original.model_copy(update={"called_again": True}))
    await a_round_later(history)
    assert await turns(history) == [stays]
    assert await history.queue.missing([original.turn_id, stays]) == [original.turn_id]


@pytest.mark.parametrize("write", ["update", "delete"])
async def test_two_calls_for_one_original_that_meet_in_the_middle_give_the_same_answer(
    history: History, overtaken: tuple[str, AdmitTurn], monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """The first goes on when the second has answered: before its take-over, and before its deletion."""
    stays, original = overtaken
    reached, released = asyncio.Event(), asyncio.Event()
    plain = getattr(Collection, write)

    async def pause(self: Collection, *arguments: Any) -> Any:
        taken_over = write == "delete" or (self.name == "turns" and "replaces" in arguments[1].get("$set", {}))
        if self.name == "turns" and taken_over and not reached.is_set():
            reached.set()
            await released.wait()
        return await plain(self, *arguments)

    monkeypatch.setattr(Collection, write, pause)
    first = asyncio.create_task(admitted(history, original))
    await reached.wait()
    second = await admitted(history, original.model_copy(update={"called_again": True}))
    released.set()
    assert {second.turn.id, (await first).turn.id} == {stays}
    assert await turns(history) == [stays]


async def test_the_client_says_that_it_calls_again(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Any] = []

    async def noted(method: str, path: str, body: Any, query: Any = None, *, again: Any = None) -> Any:
        bodies.extend((body, again))
        return await call(method, path, body, query, again=again)

    await history.publish()
    call = history.client._call
    monkeypatch.setattr(history.client, "_call", noted)
    order = completion(retry_key="r")
    await history.client.admit(WORKSPACE, order)
    plain = completion()
    await history.client.admit(WORKSPACE, plain)
    assert bodies == [order.wire(), {**order.wire(), "calledAgain": True}, plain.wire(), None]
