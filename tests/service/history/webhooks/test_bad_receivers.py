"""Receivers that are slow for ever, answer without end or fail for days: bounded, told, and no other one waits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.history.settings import HistorySettings
from services.history.webhooks import webhooks
from shared.contracts.webhooks import ChangeWebhook
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, running
from tests.service.history.webhooks.conversation import states, subscribed
from tests.service.history.webhooks.receiver import Receiver

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[Receiver]:
    """A receiver that need not speak HTTP."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Receiver(server.sockets[0].getsockname()[1])


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The head of an answer, a byte at a time, without end: no single read takes long."""
    try:
        writer.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head of 10 MB."""
    try:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(160):
            writer.write(b"x-%d: " % number + b"x" * 65_536 + b"\r\n")
            await writer.drain()
        writer.write(b"\r\n")
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("serve", "error"),
    [(drip, "It did not answer within 1.5 seconds."), (flood, "It cannot be reached, or does not speak HTTP.")],
)
async def test_a_head_without_end_is_a_failed_attempt(serve: Serve, error: str, history: History) -> None:
    async with raw_server(serve) as receiver:
        made = await subscribed(history, receiver, "session.created")
        sent = await history.client.test_webhook(WORKSPACE, made.id)

        async def dead() -> bool:
            return (await states(history, made)).get(sent.id) == "dead"

        await eventually(dead, what="the end of the attempt")
    page = await history.client.deliveries(WORKSPACE, made.id, {})
    assert [each["error"] for each in page["items"]] == [error]


async def test_a_receiver_that_never_answers_holds_up_no_other(settings: HistorySettings, receiver: Receiver) -> None:
    """Its attempts last longer than this test."""
    patient = settings.model_copy(update={"webhook_timeout_s": 60.0})
    began = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await reader.read()
        writer.close()

    async with running(patient) as history, raw_server(silence) as slow:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        await subscribed(history, slow, "session.created")
        await subscribed(history, receiver, "session.created")
        await history.publish()
        first = [await history.session() for _ in range(8)]
        async with asyncio.timeout(30.0):
            await began.wait()
        later = [await history.session() for _ in range(8)]
        await eventually(lambda: len(receiver.types()) == len(first + later), what="all events at the good one")


async def test_an_endpoint_that_fails_for_days_is_disabled_and_everybody_can_see_it(
    settings: HistorySettings, receiver: Receiver
) -> None:
    days = settings.model_copy(update={"webhook_disable_after_s": 0.5})
    receiver.default = 500
    before = REGISTRY.get_sample_value("parley_webhooks_disabled_total") or 0.0
    async with running(days) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        made = await subscribed(history, receiver, "session.created")
        await history.publish()
        await history.session()

        async def disabled() -> bool:
            return not (await history.client.webhook(WORKSPACE, made.id)).enabled

        await eventually(disabled, within_s=20.0, what="a disabled endpoint")
        shown = await history.client.webhook(WORKSPACE, made.id)
        assert shown.disabled_reason is not None
        assert shown.disabled_reason.startswith("No delivery has succeeded since ")
        assert shown.disabled_at is not None
        assert REGISTRY.get_sample_value("parley_webhooks_disabled_total") == before + 1

        async def audited() -> bool:
            page = await history.client.audit(WORKSPACE, {})
            return [each["target"] for each in page["items"] if each["action"] == "webhook.disabled"] == [made.id]

        await eventually(audited, what="an audit entry")
        back = await history.client.change_webhook(WORKSPACE, made.id, ChangeWebhook(enabled=True))
        assert (back.disabled_at, back.disabled_reason, back.failing_since) == (None, None, None)


async def test_deliveries_are_paged_and_dead_letters_replayed_so_many_at_a_time(
    history: History, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_REPLAYED", 2)
    made = await subscribed(history, receiver, "session.created")
    receiver.default = 503
    sent = [(await history.client.test_webhook(WORKSPACE, made.id)).id for _ in range(5)]

    async def dead() -> bool:
        return await states(history, made, state="dead") == dict.fromkeys(sent, "dead")

    await eventually(dead, what="five dead letters")
    found: list[str] = []
    query = {"limit": "2", "state": "dead"}
    while True:
        page = await history.client.deliveries(WORKSPACE, made.id, query)
        found += [each["id"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert found == sent[::-1]
    receiver.default = 200
    replayed = [await history.client.replay(WORKSPACE, made.id) for _ in range(3)]
    assert [(each.replayed, each.more) for each in replayed] == [(2, True), (2, True), (1, False)]
    await eventually(lambda: len(receiver.types()) == 5, what="all of them")
