"""Which confirmation a subscriber may believe."""

import asyncio
from typing import Any, cast

import pytest

from shared.broker.pubsub import PubSub

NAME = b"turn:ws:trn"


class Mailbox:
    """A subscriber."""

    def deliver(self, message: bytes) -> None:
        raise AssertionError(message)

    def lose(self) -> None:
        raise AssertionError


class FakeConnection:
    """Notes the commands; the test answers them."""

    def __init__(self) -> None:
        self.sent = list[tuple[str, bytes]]()
        self.has_ended = False
        self._reader = self

    def at_eof(self) -> bool:
        return self.has_ended

    def exception(self) -> None:
        return None

    async def send_command(self, command: str, name: bytes) -> None:
        self.sent.append((command, name))


@pytest.fixture
def pubsub() -> PubSub:
    pubsub = PubSub("redis://127.0.0.1:1")
    pubsub._connection = cast("Any", FakeConnection())
    pubsub.connected.set()
    return pubsub


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_earlier_subscribers_late_confirmation_is_not_anothers(pubsub: PubSub) -> None:
    gone, stays = Mailbox(), Mailbox()
    first = asyncio.create_task(pubsub.add(NAME, gone))
    await turns_of_the_loop()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    pubsub.remove(NAME, gone)
    await pubsub._unsubscribe(cast("Any", pubsub._connection))
    second = asyncio.create_task(pubsub.add(NAME, stays))
    await turns_of_the_loop()
    assert [command for command, _ in cast("Any", pubsub._connection).sent] == [
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "SUBSCRIBE",
    ]
    pubsub._dispatch([b"subscribe", NAME, 1])
    await turns_of_the_loop()
    assert not second.done()
    pubsub._dispatch([b"unsubscribe", NAME, 0])
    pubsub._dispatch([b"subscribe", NAME, 1])
    await second


async def test_a_subscriber_that_comes_before_the_first_one_was_unsubscribed_waits_for_the_same_confirmation(
    pubsub: PubSub,
) -> None:
    gone = Mailbox()
    first = asyncio.create_task(pubsub.add(NAME, gone))
    await turns_of_the_loop()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    pubsub.remove(NAME, gone)
    second = asyncio.create_task(pubsub.add(NAME, Mailbox()))
    await turns_of_the_loop()
    assert len(cast("Any", pubsub._connection).sent) == 1
    assert not second.done()
    pubsub._dispatch([b"subscribe", NAME, 1])
    await second
    await pubsub._unsubscribe(cast("Any", pubsub._connection))
    assert len(cast("Any", pubsub._connection).sent) == 1


async def test_a_second_subscriber_waits_for_the_subscription_that_is_under_way(pubsub: PubSub) -> None:
    tasks = [asyncio.create_task(pubsub.add(NAME, Mailbox())) for _ in range(2)]
    await turns_of_the_loop()
    assert len(cast("Any", pubsub._connection).sent) == 1
    assert not any(task.done() for task in tasks)
    pubsub._dispatch([b"subscribe", NAME, 1])
    await asyncio.gather(*tasks)


async def test_who_waits_for_a_confirmation_learns_that_the_connection_was_lost(pubsub: PubSub) -> None:
    waiting = asyncio.create_task(pubsub.add(NAME, Mailbox()))
    await turns_of_the_loop()
    pubsub._connection = None
    await pubsub._disconnect()
    with pytest.raises(ConnectionError):
        await waiting


async def test_nothing_is_sent_on_a_connection_that_ended_a_moment_ago(pubsub: PubSub) -> None:
    """Its reader notices at the loop's next step. Until then uvloop answers a write with an error of its own kind."""
    cast("Any", pubsub._connection).has_ended = True
    with pytest.raises(ConnectionError):
        await pubsub.add(NAME, Mailbox())
    assert cast("Any", pubsub._connection).sent == []
