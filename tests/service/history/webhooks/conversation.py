"""What the tests of webhooks do: they subscribe a receiver, hold conversations, and wait for the events of one."""

from typing import Any

from shared.contracts.webhooks import EVENT_TYPES, NewWebhook, StoreWebhook
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History
from tests.service.history.webhooks.receiver import Receiver

CONVERSATION_EVENTS = ("session.created", "turn.completed", "session.ended")


async def subscribed(history: History, receiver: Receiver, *events: str, **members: Any) -> NewWebhook:
    order = StoreWebhook.model_validate(
        {"id": new_id("whk"), "url": receiver.url, "events": events or EVENT_TYPES, **members}
    )
    made = await history.client.create_webhook(WORKSPACE, order)
    receiver.secrets.append(made.secret)
    return made


async def states(history: History, webhook: NewWebhook, **query: str) -> dict[str, str]:
    page = await history.client.deliveries(WORKSPACE, webhook.id, {"limit": "200", **query})
    return {item["id"]: item["state"] for item in page["items"]}


async def conversation(history: History, turns: int) -> str:
    session = await history.session()
    for number in range(turns):
        await history.answer(session, f"Question {number}?")
    await history.client.end_session(WORKSPACE, session)
    return session


def of(receiver: Receiver, session: str) -> list[dict[str, Any]]:
    return [each for each in receiver.distinct() if each["data"].get("sessionId") == session]


async def whole_conversation(
    receiver: Receiver, session: str, turns: int, *, within_s: float = 20.0
) -> list[dict[str, Any]]:
    """The events of a session once all are there. What comes out of order or under a second id fails at once."""
    whole = ["session.created", *turns * ["turn.completed"], "session.ended"]

    def complete() -> bool:
        events = of(receiver, session)
        types, told = [each["type"] for each in events], [each["data"].get("turnId") for each in events]
        assert types == whole[: len(types)], f"out of order, or one event under two ids: {types}"
        ids = [turn for turn in told if turn is not None]
        assert ids == sorted(ids), f"turns out of order, or one under two ids: {ids}"
        return types == whole

    await eventually(complete, within_s=within_s, what="all events of the session")
    return of(receiver, session)
