"""Cancelling: the worker gets a signal; without a worker the turn ends at once."""

from typing import Any

import pytest

from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, finished


class CancelSignals:
    """What a worker hears on the control channel."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def next(self) -> str:
        heard: list[str] = []

        async def signalled() -> bool:
            message = await self._channel.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                heard.append(message["data"].decode())
            return bool(heard)

        await eventually(signalled, what="a cancel signal")
        return heard[0]


async def test_a_waiting_turn_ends_at_once(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    await history.enqueue(turn.id)
    cancelled = await history.client.cancel(WORKSPACE, turn.id)
    again = await history.client.cancel(WORKSPACE, turn.id)
    assert (cancelled.status, cancelled.finish_reason, cancelled.attempt) == ("cancelled", "cancelled", 1)
    assert again == cancelled
    frame_id, event, data = (await history.frames(turn.id))[-1]
    assert (str(frame_id), event, data["status"], data["messages"]) == ("1-1", "done", "cancelled", [])
    assert await history.queue.position(turn.id) is None
    assert (await history.admit(session_id)).created


async def test_a_running_turn_is_left_to_its_worker(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    lease = await history.claim(turn.id)
    async with history.queue.pubsub() as channel:
        await channel.subscribe("parley:turns:control")
        signals = CancelSignals(channel)
        assert (await history.client.cancel(WORKSPACE, turn.id)).status == "running"
        assert await signals.next() == turn.id
        # The reconciler repeats a signal that was lost.
        assert await signals.next() == turn.id
    await lease.job.finish(finished(turn.id, 1, "As far as", status="cancelled", finish_reason="cancelled"))
    await history.wait_for_end(turn.id)
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "cancelled"


async def test_a_lost_worker_leaves_its_text_to_the_cancelled_turn(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    lease = await history.claim(turn.id)
    await history.write(turn.id, 1, "As far ", "as it came")
    await history.client.cancel(WORKSPACE, turn.id)
    await history.lapse(turn.id)
    await history.wait_for_end(turn.id)
    stored = await history.client.turn(WORKSPACE, turn.id)
    assert stored.turn.status == "cancelled"
    assert [(message.role, message.content, message.status) for message in stored.output] == [
        ("assistant", "As far as it came", "partial")
    ]
    # The worker was only slow: what it brings now is refused.
    await lease.job.finish(finished(turn.id, 1, "Too late."))

    async def acknowledged() -> bool:
        return not await history.queue.xlen("turns.finished")

    await eventually(acknowledged, what="the acknowledged outbox")
    assert await history.client.turn(WORKSPACE, turn.id) == stored


async def test_an_attempt_is_told_of_the_cancellation_as_it_begins(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.lease(turn.id)
    await history.client.cancel(WORKSPACE, turn.id)
    assert (await history.claim(turn.id)).started.cancel_requested


async def test_a_finished_turn_stays_as_it_is(history: History) -> None:
    await history.publish()
    turn_id = await history.answer(await history.session())
    assert (await history.client.cancel(WORKSPACE, turn_id)).status == "completed"
    assert "cancelRequested" not in await history.document(turn_id)


async def test_an_unknown_or_foreign_turn_is_not_found(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    for workspace, turn_id in ((WORKSPACE, new_id("trn")), ("other", turn.id)):
        for call in (history.client.cancel(workspace, turn_id), history.client.turn(workspace, turn_id)):
            with pytest.raises(ApiError) as raised:
                await call
            assert raised.value.code is Code.TURN_NOT_FOUND
    states = await history.client.turn_states([("other", turn.id), (WORKSPACE, turn.id), (WORKSPACE, new_id("trn"))])
    assert [state and state.id for state in states] == [None, turn.id, None]
