"""Much waits for an endpoint that fails: a round costs the same, and all comes in order when it is well again."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from services.history.settings import HistorySettings
from services.history.webhooks.payloads import Place
from services.history.webhooks.subscriptions import endpoint_of
from shared.contracts.webhooks import ChangeWebhook, NewWebhook
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, running
from tests.service.history.webhooks.conversation import subscribed
from tests.service.history.webhooks.receiver import Receiver

SESSIONS = 60
EVENTS = 3


async def wait_for(history: History, webhook: NewWebhook) -> None:
    """As the relay makes them: deliveries of many sessions."""
    row = await history.documents.webhooks.find_one({"_id": webhook.id})
    for number in range(EVENTS):
        for session in range(SESSIONS):
            said = {"type": "turn.completed", "data": {"sessionId": f"ses_{session}", "number": number}}
            place = Place(f"ses_{session}", f"{number:06}")
            await history.dependencies.nouns.deliveries.add(
                [endpoint_of(row)], new_id("evt"), "turn.completed", place, orjson.dumps(said)
            )


async def untouched(history: History, since: datetime) -> int:
    rows = await history.documents.webhook_deliveries.find({}).to_list(None)
    return sum(row["dueAt"] < since and not row["attempts"] for row in rows if row.get("waiting"))


async def is_well(history: History, webhook: NewWebhook) -> bool:
    return (await history.client.webhook(WORKSPACE, webhook.id)).failing_since is None


async def test_a_backlog_is_written_to_by_lane_and_comes_in_order_when_the_receiver_is_well_again(
    history: History, receiver: Receiver
) -> None:
    receiver.default = 500
    made = await subscribed(history, receiver, "turn.completed")
    await history.dependencies.webhooks.loops.end()
    await wait_for(history, made)
    await history.documents.webhooks.update_one({"_id": made.id}, {"$set": {"failingSince": datetime.now(UTC)}})
    since, dispatcher = datetime.now(UTC), history.dependencies.webhooks._dispatcher
    subscriptions = history.dependencies.webhooks._subscriptions

    async def round_until(done: Callable[[], bool]) -> bool:
        await subscriptions.refresh()
        await dispatcher.round()
        return done()

    def tried() -> bool:
        return sum(receiver.attempts.values()) >= 4

    def told_all() -> bool:
        return len(receiver.distinct()) == SESSIONS * EVENTS

    await eventually(lambda: round_until(tried), within_s=20.0, what="four attempts")
    # One attempt puts off its own lane. Nothing else was written.
    assert await untouched(history, since) >= (SESSIONS - sum(receiver.attempts.values())) * EVENTS
    receiver.default = 200
    await eventually(lambda: round_until(told_all), within_s=60.0, what="all events")
    told = defaultdict[str, list[int]](list)
    for event in receiver.distinct():
        told[event["data"]["sessionId"]].append(event["data"]["number"])
    assert told == {f"ses_{session}": list(range(EVENTS)) for session in range(SESSIONS)}


async def test_a_test_reaches_an_endpoint_that_rests_and_its_success_ends_the_rest(
    settings: HistorySettings, receiver: Receiver
) -> None:
    """The rest is longer than this test waits."""
    async with running(settings.model_copy(update={"webhook_retry_s": 600.0})) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        receiver.default = 500
        made = await subscribed(history, receiver, "session.created")
        await history.publish()
        await history.session()

        async def rests() -> bool:
            return bool((await history.documents.webhooks.find_one({"_id": made.id})).get("restUntil"))

        await eventually(rests, what="a failed attempt")
        await history.session()
        receiver.default = 200
        sent = await history.client.test_webhook(WORKSPACE, made.id)
        await eventually(lambda: is_well(history, made), within_s=15.0, what="an endpoint that is well")
        assert sent.id in {each["id"] for each in receiver.received}
        # The first session's own pause is ten minutes; the second has not been tried.
        await eventually(lambda: len(receiver.distinct()) == 2, within_s=15.0, what="what rested")


@pytest.mark.parametrize("ask", ["replay", "change"])
async def test_whoever_replays_or_changes_an_endpoint_ends_its_rest(
    history: History, receiver: Receiver, ask: str
) -> None:
    made = await subscribed(history, receiver, "session.created")
    later = datetime.now(UTC) + timedelta(hours=1)
    failing = {"failingSince": datetime.now(UTC), "restUntil": later}
    await history.documents.webhooks.update_one({"_id": made.id}, {"$set": failing})
    await history.publish()
    await history.session()
    if ask == "replay":
        await history.client.replay(WORKSPACE, made.id)
    else:
        await history.client.change_webhook(WORKSPACE, made.id, ChangeWebhook(enabled=True))
    await eventually(lambda: len(receiver.distinct()) == 1, within_s=15.0, what="the event")


async def test_an_endpoint_with_an_event_of_a_later_release_is_shown_without_it(
    history: History, receiver: Receiver
) -> None:
    made = await subscribed(history, receiver, "session.created")
    later = ["session.created", "webhook.disabled"]
    await history.documents.webhooks.update_one({"_id": made.id}, {"$set": {"events": later}})
    assert (await history.client.webhook(WORKSPACE, made.id)).events == ("session.created",)
    await history.publish()
    await history.session()
    await eventually(lambda: len(receiver.distinct()) == 1, within_s=15.0, what="the event")


async def test_an_endpoint_that_an_earlier_release_found_failing_is_tried(history: History, receiver: Receiver) -> None:
    """Its document has no time of rest, and its deliveries were put off."""
    made = await subscribed(history, receiver, "session.created")
    failing = {"failingSince": datetime.now(UTC) - timedelta(hours=1)}
    await history.documents.webhooks.update_one({"_id": made.id}, {"$set": failing})
    await history.publish()
    await history.session()
    await eventually(lambda: len(receiver.distinct()) == 1, within_s=15.0, what="the event")
    await eventually(lambda: is_well(history, made), within_s=15.0, what="an endpoint that is well")
