"""What a history that ends leaves to the next one: events on their documents, deliveries, and dead letters."""

import asyncio

import pytest

from services.history.settings import HistorySettings
from services.history.webhooks.loops import WebhookLoops
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.errors import ApiError, Code
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, running
from tests.service.history.webhooks.conversation import (
    CONVERSATION_EVENTS,
    conversation,
    states,
    subscribed,
    whole_conversation,
)
from tests.service.history.webhooks.receiver import Receiver


async def untold(settings: HistorySettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session of two turns, stored by a history that neither relays nor sends."""

    async def nothing(_: WebhookLoops) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(WebhookLoops, "_relay_on", nothing)
        patched.setattr(WebhookLoops, "_send_on", nothing)
        async with running(settings) as first:
            await eventually(lambda: is_ready(first), within_s=20.0, what="a ready history")
            await subscribed(first, receiver, *CONVERSATION_EVENTS)
            await first.publish()
            session = await conversation(first, 2)
    assert receiver.received == []
    return session


async def test_no_event_is_lost_when_history_ends_in_between(
    settings: HistorySettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await untold(settings, receiver, monkeypatch)
    async with running(settings):
        await whole_conversation(receiver, session, 2)


async def test_no_event_is_dropped_while_the_webhooks_cannot_be_read(
    settings: HistorySettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history that does not know yet who asks must not take events off their documents."""
    session = await untold(settings, receiver, monkeypatch)
    refresh, failures = Subscriptions.refresh, 2

    async def refused(self: Subscriptions) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        await refresh(self)

    monkeypatch.setattr(Subscriptions, "refresh", refused)
    async with running(settings):
        await whole_conversation(receiver, session, 2)


async def test_a_dead_letter_outlives_a_restart_and_is_sent_again_under_its_id(
    settings: HistorySettings, receiver: Receiver
) -> None:
    receiver.default = 503
    async with running(settings) as first:
        await eventually(lambda: is_ready(first), within_s=20.0, what="a ready history")
        made = await subscribed(first, receiver, "session.created")
        sent = await first.client.test_webhook(WORKSPACE, made.id)

        async def dead() -> bool:
            return await states(first, made) == {sent.id: "dead"}

        await eventually(dead, what="a dead letter")
    receiver.default = 200
    async with running(settings) as second:
        await eventually(lambda: is_ready(second), within_s=20.0, what="a ready history")
        assert await states(second, made) == {sent.id: "dead"}
        assert (await second.client.replay(WORKSPACE, made.id)).replayed == 1
        await eventually(lambda: receiver.types() == ["webhook.test"], what="the dead letter")
    assert set(receiver.attempts) == {sent.id}
