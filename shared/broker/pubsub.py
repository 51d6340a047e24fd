"""The one way to subscribe: one connection to one Redis, shared by all subscribers of a process.

Messages that may have been lost are never passed over in silence: after every new connection, and while a
subscription is not confirmed, subscribers are told to look elsewhere.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from redis.asyncio import Connection
from redis.exceptions import RedisError

from shared.broker.redis_py import connection_pool, is_open, new_connection
from shared.log import get_logger
from shared.tasks import end_tasks

log = get_logger()

SUBSCRIBE_TIMEOUT_S: Final = 0.9
RECONNECT_PAUSE_S: Final = 0.1
SILENCE_LIMIT_S: Final = 4.0
PROBE_S: Final = 1.0
# A Redis counts as available for this long after its last message.
FRESH_S: Final = 1.25
SUBSCRIBE_BATCH: Final = 500
UNSUBSCRIBE_EVERY_S: Final = 0.25
# A connection without any subscription would answer PING in another shape.
_OWN_CHANNEL: Final = b"parley:pubsub"


class Subscriber(Protocol):
    """Both methods are called from the connection's read loop: they must not block, nor raise."""

    def deliver(self, message: bytes) -> None:
        """A published message."""
        ...

    def lose(self) -> None:
        """Messages may have been missed: the connection was lost, or is new."""
        ...


class PubSub:
    """Run `run` as a task for as long as anyone subscribes. `on_alive` is called whenever the Redis answers a probe."""

    def __init__(self, url: str, *, on_alive: Callable[[], None] = lambda: None) -> None:
        self.subscribers: dict[bytes, list[Subscriber]] = {}
        self.connected = asyncio.Event()
        self._pool = connection_pool(url)
        self._on_alive = on_alive
        self._connection: Connection | None = None
        self._confirmations: dict[bytes, list[asyncio.Future[None]]] = {}
        self._unconfirmed: dict[bytes, int] = {}  # SUBSCRIBE commands that are not confirmed yet.
        self._subscribed: set[bytes] = set()  # What this connection has asked for, confirmed or not.
        self._received_at = 0.0
        self._lost_at = time.monotonic()  # Meaningful only while it is not connected.

    async def run(self) -> None:
        """Keeps the connection, and makes the subscriptions again on each new one."""
        while True:
            try:
                await self._live()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("pubsub_disconnected", error=type(error).__name__)
            finally:
                await self._disconnect()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _live(self) -> None:
        """Raises RedisError, OSError or TimeoutError once the connection is lost, or its peer silent."""
        self._connection = connection = new_connection(self._pool)
        async with asyncio.timeout(SILENCE_LIMIT_S):
            await connection.connect()  # type: ignore[no-untyped-call]
            names = [_OWN_CHANNEL, *self.subscribers]
            self._subscribed.update(names)
            for start in range(0, len(names), SUBSCRIBE_BATCH):
                await _send(connection, "SUBSCRIBE", *names[start : start + SUBSCRIBE_BATCH])
            # After the subscriptions: its answer confirms all of them.
            await _send(connection, "PING", "subscribed")
        tasks = [asyncio.create_task(work(connection)) for work in (self._read, self._probe, self._unsubscribe_idle)]
        try:
            # Whichever fails first: a peer that stops reading blocks the writers, and a peer that stops writing the
            # reader.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(tasks)

    async def _read(self, connection: Connection) -> None:
        while True:
            self._dispatch(await connection.read_response(disconnect_on_error=False))

    async def _probe(self, connection: Connection) -> None:
        """A peer that answers nothing is lost, and so is one that reads nothing."""
        self._received_at = time.monotonic()
        while time.monotonic() - self._received_at < SILENCE_LIMIT_S:
            await asyncio.sleep(PROBE_S)
            async with asyncio.timeout(SILENCE_LIMIT_S):
                await _send(connection, "PING", "alive")
        raise ConnectionError("the Redis is silent")

    async def _unsubscribe_idle(self, connection: Connection) -> None:
        """Unsubscribes in batches: a command costs the same for one channel as for a hundred."""
        while True:
            await asyncio.sleep(UNSUBSCRIBE_EVERY_S)
            await self._unsubscribe(connection)

    async def _unsubscribe(self, connection: Connection) -> None:
        if idle := self._subscribed - self.subscribers.keys() - {_OWN_CHANNEL}:
            self._subscribed -= idle
            await _send(connection, "UNSUBSCRIBE", *idle)

    def _dispatch(self, message: Any) -> None:
        self._received_at = time.monotonic()
        kind = message[0]
        if kind == b"message":
            for subscriber in self.subscribers.get(message[1], ()):
                subscriber.deliver(message[2])
        elif kind == b"subscribe":
            self._confirm(message[1])
        elif kind == b"pong":
            self._on_alive()
            if message[1] == b"subscribed":
                self.connected.set()
                for subscribers in self.subscribers.values():
                    for subscriber in subscribers:
                        subscriber.lose()

    def _confirm(self, name: bytes) -> None:
        """Answers come in the order of the commands.

        So only the answer to the last command says that the subscription is in force.
        """
        self._unconfirmed[name] = self._unconfirmed.get(name, 1) - 1
        if self._unconfirmed[name] <= 0:
            del self._unconfirmed[name]
            for waiting in self._confirmations.pop(name, ()):
                if not waiting.done():
                    waiting.set_result(None)

    async def _disconnect(self) -> None:
        if self.connected.is_set():
            self._lost_at = time.monotonic()
            self.connected.clear()
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
            self._connection = None
        for waiting in [future for futures in self._confirmations.values() for future in futures]:
            if not waiting.done():
                waiting.set_exception(ConnectionError("the subscription was not confirmed"))
                waiting.exception()  # Retrieved, in case nobody waits any more; a task that does still gets it.
        self._confirmations.clear()
        self._unconfirmed.clear()
        self._subscribed.clear()

    @property
    def is_fresh(self) -> bool:
        """Whether this Redis is almost certainly available.

        The connection is asked as well: when it ends, `_disconnect` runs some turns of the event loop later than a
        request that comes at the same moment.
        """
        if self._connection is None or not self.connected.is_set():
            return False
        return is_open(self._connection) and time.monotonic() - self._received_at < FRESH_S

    async def add(self, name: bytes, subscriber: Subscriber, *, at_once: bool = True) -> None:
        """Returns once the subscription is confirmed. Raises ConnectionError at once after a long loss of the
        connection.

        A subscription that fails later, or that its caller gives up, is made again by the next connection, until the
        subscriber is removed. Not `at_once`: other writes of this turn of the event loop are sent first.
        """
        if not self.connected.is_set() and time.monotonic() - self._lost_at > SUBSCRIBE_TIMEOUT_S:
            raise ConnectionError("the Redis has been away for long")
        self.subscribers.setdefault(name, []).append(subscriber)
        if not at_once:
            await asyncio.sleep(0)
        await self.connected.wait()
        if name in self._subscribed and name not in self._unconfirmed:
            return
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._confirmations.setdefault(name, []).append(confirmed)
        if name not in self._subscribed:
            self._subscribed.add(name)
            self._unconfirmed[name] = self._unconfirmed.get(name, 0) + 1
            await self._subscribe(name)
        await confirmed

    def keep(self, name: bytes, subscriber: Subscriber) -> None:
        """Subscribes at the next connection and at every later one. For subscriptions that last as long as `run`."""
        self.subscribers.setdefault(name, []).append(subscriber)

    def remove(self, name: bytes, subscriber: Subscriber) -> None:
        subscribers = self.subscribers.get(name, [])
        if subscriber in subscribers:
            subscribers.remove(subscriber)
            if not subscribers:
                del self.subscribers[name]

    async def _subscribe(self, name: bytes) -> None:
        if self._connection is not None and self.connected.is_set():
            await _send(self._connection, "SUBSCRIBE", name)


async def _send(connection: Connection, *command: str | bytes) -> None:
    """Raises ConnectionError for a lost connection.

    redis-py would reconnect by itself, and that connection would be taken for the one that holds the subscriptions.
    """
    if not is_open(connection):
        raise ConnectionError("the connection is lost")
    await connection.send_command(*command)
