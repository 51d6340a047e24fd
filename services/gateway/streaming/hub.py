"""One pub/sub connection per stream Redis, shared by all streams that this gateway holds; each stream has a bounded listener."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import Gauge
from redis.asyncio import Connection
from redis.exceptions import RedisError

from shared.broker.redis_py import connection_pool, is_open
from shared.broker.shards import shard_of
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from shared.run_log.keys import log_key
from shared.tasks import end_tasks

log = get_logger()

HEARTBEAT_S: Final = 4.5
SUBSCRIBE_TIMEOUT_S: Final = 0.9
LISTENER_LIMIT: Final = 16 << 10
RECONNECT_PAUSE_S: Final = 0.1
SILENCE_LIMIT_S: Final = 4.0
PULSE_S: Final = 1.0
# For so long after its last word a store counts as there.
FRESH_S: Final = 1.25
SUBSCRIBE_BATCH: Final = 500
LEAVE_S: Final = 0.25
# A connection that subscribes to nothing would answer PING in another shape.
_OWN_NAME: Final = b"parley:hub"

FastPath = Callable[[bytes], bool]

LISTENERS = Gauge("parley_open_listeners", "Streams that listen to a turn")


class Listener:
    """One stream's ear. What it has not taken yet is bounded: past the limit it is dropped, and the stream goes back to the log.

    `fast_path` may send a frame on before anyone is woken, and says whether it did. It is asked only while the stream waits here and
    nothing lies before that frame: so order is kept, and a token costs no task switch.
    """

    __slots__ = ("_fast_path", "_waiter", "closed", "frames", "gap", "heard_at", "silent", "size")

    def __init__(self, *, gap: bool = True) -> None:
        self.frames: list[bytes] = []
        self.size = 0
        self.gap = gap
        self.silent = False
        self.closed = False
        self.heard_at = time.monotonic()
        self._fast_path: FastPath | None = None
        self._waiter: asyncio.Future[None] | None = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def offer(self, frame: bytes) -> None:
        if self.gap:
            self._wake()
            return
        if self._fast_path is not None and not self.frames and self._took_fast_path(self._fast_path, frame):
            self.heard_at = time.monotonic()
            return
        self.frames.append(frame)
        self.size += len(frame)
        if self.size > LISTENER_LIMIT:
            self.lose()
        self._wake()

    def _took_fast_path(self, fast_path: FastPath, frame: bytes) -> bool:
        """One stream's failure must not end the connection that all of them share."""
        try:
            return fast_path(frame)
        except Exception:
            log.exception("frame_not_forwarded")
            return False

    def lose(self) -> None:
        """Something may have been missed: only the log can tell."""
        self.frames = []
        self.size = 0
        self.gap = True
        self._wake()

    def nudge(self) -> None:
        """Nothing was heard for a heartbeat."""
        self.silent = True
        self._wake()

    def close(self) -> None:
        """The gateway drains."""
        self.closed = True
        self._wake()

    async def wait(self, fast_path: FastPath | None = None) -> None:
        """Until there is something to do: frames that `fast_path` did not take, a gap, silence or the end."""
        self._fast_path = fast_path
        try:
            while not (self.frames or self.gap or self.silent or self.closed):
                # A future and no event: an event would bring 700 bytes for waiters that there never are.
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._fast_path = self._waiter = None

    def take(self) -> list[bytes]:
        frames, self.frames, self.size, self.silent = self.frames, [], 0, False
        self.heard_at = time.monotonic()
        return frames


class _Channel:
    """The subscription of one Redis: keeps it, counts nothing as heard that may have been lost."""

    def __init__(self, url: str) -> None:
        self.listeners: dict[bytes, list[Listener]] = {}
        self.connected = asyncio.Event()
        self._pool = connection_pool(url)
        self._connection: Connection | None = None
        self._confirmations: dict[bytes, list[asyncio.Future[None]]] = {}
        self._under_way: dict[bytes, int] = {}  # SUBSCRIBE commands that are not confirmed yet.
        self._subscribed: set[bytes] = set()  # What this connection has asked for, confirmed or not.
        self._heard_at = 0.0
        self._lost_at = time.monotonic()  # Of importance only while it is not connected.

    async def run(self) -> None:
        while True:
            try:
                await self._live()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("hub_disconnected", error=type(error).__name__)
            finally:
                await self._lose_all()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _live(self) -> None:
        """Raises RedisError, OSError or TimeoutError once the connection is lost, or its peer silent."""
        self._connection = connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(SILENCE_LIMIT_S):
            await connection.connect()
            names = [_OWN_NAME, *self.listeners]
            self._subscribed.update(names)
            for start in range(0, len(names), SUBSCRIBE_BATCH):
                await _send(connection, "SUBSCRIBE", *names[start : start + SUBSCRIBE_BATCH])
            # Behind the subscriptions: once it is answered they are in force.
            await _send(connection, "PING", "subscribed")
        tasks = [asyncio.create_task(work(connection)) for work in (self._read, self._watch, self._leave)]
        try:
            # Whichever fails first: a peer that stops reading blocks those that send, and one that stops talking the one that reads.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(tasks)

    async def _read(self, connection: Connection) -> None:
        while True:
            self._dispatch(await connection.read_response(disconnect_on_error=False))

    async def _watch(self, connection: Connection) -> None:
        """A peer that answers nothing is a dead peer, and so is one that takes nothing."""
        self._heard_at = time.monotonic()
        while time.monotonic() - self._heard_at < SILENCE_LIMIT_S:
            await asyncio.sleep(PULSE_S)
            async with asyncio.timeout(SILENCE_LIMIT_S):
                await _send(connection, "PING", "alive")
        raise ConnectionError("the stream store is silent")

    async def _leave(self, connection: Connection) -> None:
        """Unsubscribes from what nobody listens to, many at a time: a command costs the same for one as for a hundred."""
        while True:
            await asyncio.sleep(LEAVE_S)
            await self._unsubscribe(connection)

    async def _unsubscribe(self, connection: Connection) -> None:
        if left := self._subscribed - self.listeners.keys() - {_OWN_NAME}:
            self._subscribed -= left
            await _send(connection, "UNSUBSCRIBE", *left)

    def _dispatch(self, message: Any) -> None:
        self._heard_at = time.monotonic()
        kind = message[0]
        if kind == b"message":
            for listener in self.listeners.get(message[1], ()):
                listener.offer(message[2])
        elif kind == b"subscribe":
            self._confirm(message[1])
        elif kind == b"pong" and message[1] == b"subscribed":
            self.connected.set()
            for listeners in self.listeners.values():
                for listener in listeners:
                    listener.lose()

    def _confirm(self, name: bytes) -> None:
        """Answers come in the order of the commands: only the last one under way says that the subscription stands."""
        self._under_way[name] = self._under_way.get(name, 1) - 1
        if self._under_way[name] <= 0:
            del self._under_way[name]
            for waiting in self._confirmations.pop(name, ()):
                if not waiting.done():
                    waiting.set_result(None)

    async def _lose_all(self) -> None:
        if self.connected.is_set():
            self._lost_at = time.monotonic()
            self.connected.clear()
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
            self._connection = None
        for waiting in [future for futures in self._confirmations.values() for future in futures]:
            if not waiting.done():
                waiting.set_exception(ConnectionError("the subscription was not confirmed"))
                waiting.exception()  # Looked at, in case that nobody waits any more; whoever does still gets it.
        self._confirmations.clear()
        self._under_way.clear()
        self._subscribed.clear()

    @property
    def is_fresh(self) -> bool:
        """Whether this Redis is as good as certainly there.

        The connection is asked as well: when it ends, `_lose_all` runs some turns of the loop later than a request that came with the end.
        """
        if self._connection is None or not self.connected.is_set():
            return False
        return is_open(self._connection) and time.monotonic() - self._heard_at < FRESH_S

    async def add(self, name: bytes, listener: Listener, *, at_once: bool = True) -> None:
        """Returns once the subscription is confirmed. Raises ConnectionError at once when it has been lost for longer than one waits.

        What fails later, or is given up, is made good by the next connection, until the listener is removed. Not `at_once`: what waits
        to be sent elsewhere goes first.
        """
        if not self.connected.is_set() and time.monotonic() - self._lost_at > SUBSCRIBE_TIMEOUT_S:
            raise ConnectionError("no connection for long")
        self.listeners.setdefault(name, []).append(listener)
        if not at_once:
            await asyncio.sleep(0)
        await self.connected.wait()
        if name in self._subscribed and name not in self._under_way:
            return
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._confirmations.setdefault(name, []).append(confirmed)
        if name not in self._subscribed:
            self._subscribed.add(name)
            self._under_way[name] = self._under_way.get(name, 0) + 1
            await self._subscribe(name)
        await confirmed

    def remove(self, name: bytes, listener: Listener) -> None:
        listeners = self.listeners.get(name, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self.listeners[name]

    async def _subscribe(self, name: bytes) -> None:
        if self._connection is not None and self.connected.is_set():
            await _send(self._connection, "SUBSCRIBE", name)


async def _send(connection: Connection, *command: str | bytes) -> None:
    """Raises ConnectionError for a lost one: by itself it would connect anew, and be taken for the one that holds the subscriptions."""
    if not is_open(connection):
        raise ConnectionError("the connection is lost")
    await connection.send_command(*command)


class _Subscription:
    """One listener's, from its beginning to its end."""

    __slots__ = ("_adding", "_name", "channel", "listener")

    def __init__(self, channel: _Channel, name: bytes, listener: Listener, *, at_once: bool) -> None:
        self.channel = channel
        self.listener = listener
        self._name = name
        self._adding: asyncio.Task[None] | None = asyncio.create_task(channel.add(name, listener, at_once=at_once))

    async def confirmed(self) -> None:
        """Raises `dependency_unavailable` when it is not in time."""
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

    async def stands(self) -> None:
        """Confirmed, or else what is missed will be read from the log: the next connection makes the subscription good."""
        try:
            await self.confirmed()
        except ApiError:
            self.listener.lose()

    async def end(self) -> None:
        if self._adding is not None:
            await end_tasks([self._adding])
        self.channel.remove(self._name, self.listener)


class Hub:
    """All streams' ears. `async with` it; `listen` inside."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._channels = [_Channel(url) for url in urls]
        self._tasks: list[asyncio.Task[None]] = []
        self._listeners: set[Listener] = set()
        self._draining = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(channel.run()) for channel in self._channels]
        self._tasks.append(asyncio.create_task(self._tick()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end_tasks(self._tasks)

    async def _tick(self) -> None:
        """One timer for all streams: whoever has heard nothing for a heartbeat is nudged; traffic pushes it back."""
        while True:
            await asyncio.sleep(HEARTBEAT_S / 9)
            before = time.monotonic() - HEARTBEAT_S
            for listener in self._listeners:
                if listener.heard_at < before:
                    listener.heard_at = time.monotonic()
                    listener.nudge()

    def drain(self) -> None:
        """Ends every stream, now and from now on."""
        self._draining = True
        for listener in self._listeners:
            listener.close()

    async def ready(self) -> None:
        """Raises unless every stream Redis is subscribed to."""
        if not all(channel.connected.is_set() for channel in self._channels):
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
    async def expect(
        self, workspace: str, turn_id: str
    ) -> AsyncIterator[tuple[Listener, Callable[[], Awaitable[None]]]]:
        """A listener for a turn that is about to be admitted, and what to await between its admission and its first frame.

        It begins with the first frame instead of the log. If the Redis has just been heard of, the subscription is confirmed while
        the turn is admitted; should it fall silent just then, the turn is admitted all the same, and its log will be read. Otherwise
        raises as `listen` does.
        """
        subscription = self._subscribe(workspace, turn_id, listener := Listener(gap=False), at_once=False)
        try:
            if not subscription.channel.is_fresh:
                await subscription.confirmed()
            yield listener, subscription.stands
        finally:
            await self._unsubscribe(subscription)

    def _subscribe(self, workspace: str, turn_id: str, listener: Listener, *, at_once: bool = True) -> _Subscription:
        if self._draining:
            raise ApiError(Code.DRAINING)
        channel = self._channels[shard_of(turn_id, len(self._channels))]
        self._listeners.add(listener)
        LISTENERS.inc()
        return _Subscription(channel, log_key(workspace, turn_id).encode(), listener, at_once=at_once)

    async def _unsubscribe(self, subscription: _Subscription) -> None:
        self._listeners.discard(subscription.listener)
        LISTENERS.dec()
        await subscription.end()
