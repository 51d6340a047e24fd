"""All streams' listeners of this gateway: their subscriptions, one per turn, and their heartbeats."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from prometheus_client import Gauge
from redis.exceptions import RedisError

from services.gateway.streaming.listener import Listener
from shared.broker.pubsub import SUBSCRIBE_TIMEOUT_S, PubSub, Subscriber
from shared.broker.shards import Shards
from shared.contracts.errors import ApiError, Code
from shared.run_log.keys import log_key, session_channel
from shared.tasks import BackgroundLoops, end_tasks

# Clients are promised a sign of life within 5 s. A silent stream is noticed at most one tick late.
HEARTBEAT_S: Final = 4.5
TICKS_PER_HEARTBEAT: Final = 18

LISTENERS = Gauge("parley_open_listeners", "Streams that listen to a turn")


class _Subscription:
    """One listener's subscription, from its start to its end."""

    __slots__ = ("_adding", "_name", "listener", "pubsub")

    def __init__(self, pubsub: PubSub, name: bytes, listener: Listener, *, at_once: bool) -> None:
        self.pubsub = pubsub
        self.listener = listener
        self._name = name
        self._adding: asyncio.Task[None] | None = asyncio.create_task(pubsub.add(name, listener, at_once=at_once))

    async def confirmed(self) -> None:
        """Raises `dependency_unavailable` when it is not confirmed in time."""
        adding, self._adding = self._adding, None
        if adding is None:
            return
        try:
            if not adding.done():
                async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                    await adding
            adding.result()
        except (TimeoutError, RedisError, OSError):
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The stream store does not answer.") from None

    async def confirmed_or_lost(self) -> None:
        """Confirmed, or else the log will be read: the next connection makes the subscription good."""
        try:
            await self.confirmed()
        except ApiError:
            self.listener.lose()

    async def end(self) -> None:
        if self._adding is not None:
            await end_tasks([self._adding])
        self.pubsub.remove(self._name, self.listener)


class Hub:
    """`async with` it; `listen` inside. `loops` are its background loops: the process supervises them.

    `urls`: of the stream Redises, as `shared/broker/shards.py` describes them.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.loops = BackgroundLoops()
        self._places = Shards(urls)
        self._shards = [PubSub(url) for url in self._places.urls]
        self._listeners: set[Listener] = set()
        self._draining = False

    def keep(self, channel: str, subscriber: Subscriber) -> None:
        """A subscription for as long as the process lives, at the first stream Redis. Call it before `async with`."""
        self._shards[0].keep(channel.encode(), subscriber)

    async def __aenter__(self) -> Self:
        for number, shard in enumerate(self._shards):
            self.loops.start(f"pubsub_{number}", shard.run())
        self.loops.start("heartbeats", self._send_heartbeats())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.loops.end()

    async def _send_heartbeats(self) -> None:
        """One timer for all streams. Traffic postpones a stream's heartbeat."""
        while True:
            await asyncio.sleep(HEARTBEAT_S / TICKS_PER_HEARTBEAT)
            before = time.monotonic() - HEARTBEAT_S
            for listener in list(self._listeners):
                if listener.active_at < before:
                    listener.heartbeat()

    def drain(self) -> None:
        """Ends every stream, now and from now on."""
        self._draining = True
        for listener in self._listeners:
            listener.close()

    async def ready(self) -> None:
        """Raises unless every stream Redis is subscribed to."""
        await self.loops.ready()
        if not all(shard.connected.is_set() for shard in self._shards):
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)

    @asynccontextmanager
    async def listen(self, workspace: str, turn_id: str) -> AsyncIterator[Listener]:
        """A listener whose subscription is confirmed, so that a log read from now on misses nothing.

        Raises `dependency_unavailable` within a second while the Redis is away, and `draining`.
        """
        subscription = self._subscribe(workspace, turn_id, listener := Listener())
        try:
            await subscription.confirmed()
            yield listener
        finally:
            await self._unsubscribe(subscription)

    @asynccontextmanager
    async def listen_to_session(self, workspace: str, session_id: str) -> AsyncIterator[Listener]:
        """A listener that hears the turn ids of the session's channel, with confirmed subscriptions.

        Raises as `listen` does. A turn signals on its own Redis, so this subscribes to all of them.
        """
        if self._draining:
            raise ApiError(Code.DRAINING)
        listener, name = Listener(), session_channel(workspace, session_id).encode()
        self._listeners.add(listener)
        LISTENERS.inc()
        subscriptions = [_Subscription(shard, name, listener, at_once=True) for shard in self._shards]
        try:
            for subscription in subscriptions:
                await subscription.confirmed()
            yield listener
        finally:
            self._listeners.discard(listener)
            LISTENERS.dec()
            for subscription in subscriptions:
                await subscription.end()

    @asynccontextmanager
    async def expect(
        self, workspace: str, turn_id: str
    ) -> AsyncIterator[tuple[Listener, Callable[[], Awaitable[None]]]]:
        """A listener for a turn that is about to be admitted, and what to await between its admission and its first
        frame.

        The listener begins with the first published frame instead of the log. If the Redis has answered a moment ago,
        the subscription is confirmed while the turn is admitted; should the Redis fall silent just then, the turn is
        admitted all the same, and its log will be read. Otherwise this raises as `listen` does.
        """
        subscription = self._subscribe(workspace, turn_id, listener := Listener(gap=False), at_once=False)
        try:
            if not subscription.pubsub.is_fresh:
                await subscription.confirmed()
            yield listener, subscription.confirmed_or_lost
        finally:
            await self._unsubscribe(subscription)

    def _subscribe(self, workspace: str, turn_id: str, listener: Listener, *, at_once: bool = True) -> _Subscription:
        if self._draining:
            raise ApiError(Code.DRAINING)
        shard = self._shards[self._places.of(turn_id)]
        self._listeners.add(listener)
        LISTENERS.inc()
        return _Subscription(shard, log_key(workspace, turn_id).encode(), listener, at_once=at_once)

    async def _unsubscribe(self, subscription: _Subscription) -> None:
        self._listeners.discard(subscription.listener)
        LISTENERS.dec()
        await subscription.end()
