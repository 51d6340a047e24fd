"""Which confirmation a listener may believe."""

import asyncio
from typing import Any, cast

import pytest

from services.gateway.streaming.hub import Listener, _Channel

NAME = b"turn:ws:trn"


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
def channel() -> _Channel:
    channel = _Channel("redis://127.0.0.1:1")
    channel._connection = cast("Any", FakeConnection())
    channel.connected.set()
    return channel


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_earlier_listeners_late_confirmation_is_not_anothers(channel: _Channel) -> None:
    gone, stays = Listener(), Listener()
    first = asyncio.create_task(channel.add(NAME, gone))
    await turns_of_the_loop()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    channel.remove(NAME, gone)
    await channel._unsubscribe(cast("Any", channel._connection))
    second = asyncio.create_task(channel.add(NAME, stays))
    await turns_of_the_loop()
    assert [command for command, _ in cast("Any", channel._connection).sent] == [
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "SUBSCRIBE",
    ]
    channel._dispatch([b"subscribe", NAME, 1])
    await turns_of_the_loop()
    assert not second.done()
    channel._dispatch([b"unsubscribe", NAME, 0])
    channel._dispatch([b"subscribe", NAME, 1])
    await second


async def test_who_comes_before_the_first_one_was_unsubscribed_waits_for_the_same_confirmation(
    channel: _Channel,
) -> None:
    gone = Listener()
    first = asyncio.create_task(channel.add(NAME, gone))
    await turns_of_the_loop()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    channel.remove(NAME, gone)
    second = asyncio.create_task(channel.add(NAME, Listener()))
    await turns_of_the_loop()
    assert len(cast("Any", channel._connection).sent) == 1
    assert not second.done()
    channel._dispatch([b"subscribe", NAME, 1])
    await second
    await channel._unsubscribe(cast("Any", channel._connection))
    assert len(cast("Any", channel._connection).sent) == 1


async def test_a_second_listener_waits_for_the_subscription_that_is_under_way(channel: _Channel) -> None:
    tasks = [asyncio.create_task(channel.add(NAME, Listener())) for _ in range(2)]
    await turns_of_the_loop()
    assert len(cast("Any", channel._connection).sent) == 1
    assert not any(task.done() for task in tasks)
    channel._dispatch([b"subscribe", NAME, 1])
    await asyncio.gather(*tasks)


async def test_a_lost_connection_is_told_to_who_waits(channel: _Channel) -> None:
    waiting = asyncio.create_task(channel.add(NAME, Listener()))
    await turns_of_the_loop()
    channel._connection = None
    await channel._lose_all()
    with pytest.raises(ConnectionError):
        await waiting


async def test_nothing_is_sent_on_a_connection_that_ended_a_moment_ago(channel: _Channel) -> None:
    """Its reader will notice at the loop's next step; until then uvloop would answer a write with an error of its own kind."""
    cast("Any", channel._connection).has_ended = True
    with pytest.raises(ConnectionError):
        await channel.add(NAME, Listener())
    assert cast("Any", channel._connection).sent == []
