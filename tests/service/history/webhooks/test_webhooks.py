"""Webhooks: every event at least once, in order per session, whatever the receiver does; endpoints and deliveries."""

import pytest

from services.history.settings import HistorySettings
from shared.contracts.budgets import Allowance, StoreBudget, Subject
from shared.contracts.errors import ApiError, Code
from shared.contracts.feedback import GiveFeedback
from shared.contracts.webhooks import ChangeWebhook, RotateWebhook, StoreWebhook
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, finished, running
from tests.service.history.webhooks.conversation import (
    CONVERSATION_EVENTS,
    conversation,
    states,
    subscribed,
    whole_conversation,
)
from tests.service.history.webhooks.receiver import Receiver


async def test_a_conversation_is_told_in_order_and_without_a_word_of_it(history: History, receiver: Receiver) -> None:
    await subscribed(history, receiver)
    await history.publish()
    session = await conversation(history, 3)
    await whole_conversation(receiver, session, 3)
    turns = [each["data"] for each in receiver.distinct() if each["type"] == "turn.completed"]
    stored = await history.documents.turns.find({"workspace": WORKSPACE, "sessionId": session}).to_list(None)
    assert [turn["turnId"] for turn in turns] == [row["_id"] for row in sorted(stored, key=lambda row: row["n"])]
    assert turns[0]["usage"]["totalTokens"] == 5
    assert "agent.published" in receiver.types()
    assert not any("Question" in str(each) or "Hi." in str(each) for each in receiver.received)
    assert receiver.unverified == 0
    left = await history.documents.turns.find({"workspace": WORKSPACE, "unsent.id": {"$gt": ""}}).to_list(None)
    assert left == []


async def test_nothing_is_written_where_nobody_asks(history: History, receiver: Receiver) -> None:
    await subscribed(history, receiver, "knowledge.failed")
    await history.publish()
    session = await history.session()
    turn = await history.answer(session)
    assert "unsent" not in await history.document(turn)
    assert "unsent" not in await history.documents.sessions.find_one({"_id": session})


@pytest.mark.parametrize(
    "way", [500, "hang", "redirect", *(pytest.param(way, marks=pytest.mark.long) for way in (404, "abort"))]
)
async def test_a_receiver_that_fails_for_a_while_is_told_everything_in_order_under_the_same_ids(
    way: int | str, history: History, receiver: Receiver
) -> None:
    await subscribed(history, receiver, *CONVERSATION_EVENTS)
    await history.publish()
    receiver.ways = [way, way]
    session = await conversation(history, 2)
    first, *_ = await whole_conversation(receiver, session, 2)
    assert receiver.attempts[first["id"]] >= 3, f"attempts by id: {receiver.attempts}"
    assert receiver.unverified == 0


async def test_each_attempt_is_signed_anew(settings: HistorySettings, receiver: Receiver) -> None:
    """A receiver refuses a signature that is minutes old. The second attempt is more than a second after the first."""
    async with running(settings.model_copy(update={"webhook_retry_s": 1.3})) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        await subscribed(history, receiver, "agent.published")
        receiver.ways = [500]
        await history.publish()
        await eventually(lambda: bool(receiver.received), what="the event")
    times = receiver.timestamps[receiver.received[0]["id"]]
    assert len(set(times)) == len(times) > 1, f"the second attempt has the signature of the first: {times}"


async def test_an_endless_answer_is_not_read(history: History, receiver: Receiver) -> None:
    made = await subscribed(history, receiver, "session.created")
    receiver.default = "endless"
    await history.publish()
    await history.session()

    async def delivered() -> bool:
        return "delivered" in (await states(history, made)).values()

    await eventually(delivered, what="the delivery")


async def test_feedback_and_a_failed_turn_and_a_budget_are_told(history: History, receiver: Receiver) -> None:
    await subscribed(history, receiver, "message.feedback", "turn.failed", "budget.exceeded")
    await history.publish()
    session = await history.session()
    turn = await history.answer(session)
    answer = (await history.document(turn))["output"][0]["id"]
    await history.client.give_feedback(
        WORKSPACE, session, GiveFeedback(message_id=answer, rating="down", comment="Rude.")
    )
    failing = (await history.admit(session, "Again?")).turn.id
    lease = await history.claim(failing)
    error = {"code": "upstream_error", "message": "No.", "retryable": False}
    bad = finished(failing, lease.claimed.attempt, status="failed", finish_reason=None, error=error, output=())
    assert await lease.job.finish(bad)
    await history.wait_for_end(failing)
    await history.client.put_budget(WORKSPACE, Subject("workspace"), StoreBudget(day=Allowance(tokens=0)))
    for _ in range(3):
        with pytest.raises(ApiError) as raised:
            await history.admit(session, "And now?")
        assert raised.value.code is Code.BUDGET_EXCEEDED
    await eventually(lambda: len(receiver.types()) == 3, what="three events")
    by_type = {each["type"]: each["data"] for each in receiver.distinct()}
    assert by_type["message.feedback"]["rating"] == "down"
    assert "Rude" not in str(receiver.received)
    assert by_type["turn.failed"]["error"] == {"code": "upstream_error"}
    assert by_type["budget.exceeded"]["subject"] == "workspace"


async def test_a_rotated_secret_signs_beside_the_old_one_until_its_grace_ends(
    history: History, receiver: Receiver
) -> None:
    made = await subscribed(history, receiver, "session.created")
    await history.publish()
    rotated = await history.client.rotate_webhook(WORKSPACE, made.id, RotateWebhook(grace_s=600))
    assert rotated.secret != made.secret
    await history.session()  # The receiver knows the old secret only.
    await eventually(lambda: receiver.signatures == [2], what="an event with two signatures")
    await history.client.rotate_webhook(WORKSPACE, made.id, RotateWebhook(grace_s=0))
    await history.session()
    await eventually(lambda: receiver.unverified == 1, what="an event that the old secret does not verify")


async def test_a_test_event_is_tried_once_and_its_delivery_says_why_it_failed(
    history: History, receiver: Receiver
) -> None:
    made = await subscribed(history, receiver, "session.created")
    receiver.default = 503
    sent = await history.client.test_webhook(WORKSPACE, made.id)

    async def dead() -> bool:
        return (await states(history, made)).get(sent.id) == "dead"

    await eventually(dead, what="a dead letter")
    page = await history.client.deliveries(WORKSPACE, made.id, {"state": "dead"})
    assert [(each["error"], each["status"], each["attempts"]) for each in page["items"]] == [
        ("It answered 503.", 503, 1)
    ]
    receiver.default = 200
    assert (await history.client.replay(WORKSPACE, made.id)).replayed == 1
    await eventually(lambda: receiver.types() == ["webhook.test"], what="the replayed event")
    assert receiver.attempts[sent.id] == 2


async def test_an_endpoint_that_is_gone_is_disabled_and_comes_back_when_it_is_enabled(
    history: History, receiver: Receiver
) -> None:
    made = await subscribed(history, receiver, "session.created")
    await history.publish()
    receiver.default = 410
    await history.session()

    async def disabled() -> bool:
        return not (await history.client.webhook(WORKSPACE, made.id)).enabled

    await eventually(disabled, what="a disabled endpoint")
    assert "410" in ((await history.client.webhook(WORKSPACE, made.id)).disabled_reason or "")

    async def dead() -> bool:
        return set((await states(history, made)).values()) == {"dead"}

    # The list of endpoints is up to a second old: a try within it still finds the receiver gone.
    await eventually(dead, what="dead letters only")
    receiver.default = 200
    back = await history.client.change_webhook(WORKSPACE, made.id, ChangeWebhook(enabled=True))
    assert back.enabled
    assert back.disabled_reason is None
    assert (await history.client.replay(WORKSPACE, made.id)).replayed == 1
    await eventually(lambda: receiver.types() == ["session.created"], what="the event")


async def test_a_failing_endpoint_does_not_hold_up_another(history: History, receiver: Receiver) -> None:
    dead_end = Receiver(9)  # Nobody listens there.
    await subscribed(history, dead_end, "session.created")
    await subscribed(history, receiver, "session.created")
    await history.publish()
    sessions = [await history.session() for _ in range(20)]
    await eventually(lambda: len(receiver.types()) == len(sessions), what="all events at the good one")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://user:secret@example.com/hook",
        "https://2130706433/",
        "https://example.com:22/",
        "ftp://example.com/",
        "no address",
    ],
)
async def test_an_address_that_no_call_may_have_is_refused(url: str, history: History) -> None:
    order = StoreWebhook(id=new_id("whk"), url=url, events=("session.created",))
    with pytest.raises(ApiError) as raised:
        await history.client.create_webhook(WORKSPACE, order)
    assert raised.value.code is Code.VALIDATION_FAILED


async def test_a_name_that_points_inwards_is_refused_when_it_is_called(history: History, receiver: Receiver) -> None:
    """`localhost` is not on the list, which names 127.0.0.1; port and scheme are good."""
    order = StoreWebhook(id=new_id("whk"), url="https://localhost/hook", events=("session.created",))
    made = await history.client.create_webhook(WORKSPACE, order)
    sent = await history.client.test_webhook(WORKSPACE, made.id)

    async def refused() -> bool:
        page = await history.client.deliveries(WORKSPACE, made.id, {})
        return bool(page["items"]) and "not public" in (page["items"][0].get("error") or "")

    await eventually(refused, what="a refused call")
    assert receiver.attempts[sent.id] == 0


async def test_a_deleted_webhook_leaves_no_deliveries(history: History, receiver: Receiver) -> None:
    made = await subscribed(history, receiver, "session.created")
    await history.publish()
    await history.session()
    await eventually(lambda: bool(receiver.received), what="an event")
    await history.client.remove_webhook(WORKSPACE, made.id)
    assert await history.documents.webhook_deliveries.find({"workspace": WORKSPACE}).to_list(None) == []
    with pytest.raises(ApiError) as raised:
        await history.client.webhook(WORKSPACE, made.id)
    assert raised.value.code is Code.NOT_FOUND
    await history.session()
    assert await history.documents.webhook_deliveries.find({"workspace": WORKSPACE}).to_list(None) == []
