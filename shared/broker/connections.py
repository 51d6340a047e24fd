"""Redis clients, all made here: bounded pools, short timeouts, and which Redis holds a turn's log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any, NamedTuple, cast
from zlib import crc32

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

CONNECT_TIMEOUT_S = 1.0
CALL_TIMEOUT_S = 5.0

Command = tuple[str | bytes | int, ...]


class _Pool(BlockingConnectionPool):
    """A server that accepts and then says nothing must not hold up whoever connects: the greeting is timed with the dialing."""

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        # What redis-py asks before each command, whether there is anything to read, takes it a timer and a cancellation, a third of the
        # command. Nothing unread is ever left, since a command that is broken off closes its connection; so only a closed one matters.
        if is_open(connection):
            return
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await super().ensure_connection(connection)


def is_open(connection: AbstractConnection) -> bool:
    """Neither ended nor reset by its peer, as far as this process has heard.

    To be asked right before a write: uvloop raises RuntimeError for a transport that has been closed, be it a moment ago.
    """
    reader = connection._reader
    return reader is not None and not reader.at_eof() and reader.exception() is None


def connection_pool(url: str, *, connections: int = 16) -> BlockingConnectionPool:
    """A pool that makes callers wait instead of opening a connection per concurrent command, as redis-py's default does.

    It retries nothing by itself: each failure has one owner, and that is the caller. It times nothing but connecting either: its own
    timeouts cost a task and a timer for each direction; see `TimedCommands`.
    """
    return _Pool.from_url(
        url,
        max_connections=connections,
        timeout=CONNECT_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=None,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
    )


class Script(NamedTuple):
    """A Lua script, which Redis knows by its hash once it has run."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> "Script":
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    def command(self, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]) -> Command:
        """For a Redis that knows it; any other answers NoScriptError."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    async def run(
        self, call: Callable[..., Awaitable[Any]], keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]
    ) -> Any:
        """The script's answer. `call` sends one command: a client's `execute_command`, or a wire's `call`; it raises what that raises."""
        try:
            return await call(*self.command(keys, arguments))
        except NoScriptError:
            return await call("EVAL", self.text, len(keys), *keys, *arguments)


class TimedCommands:
    """Beneath a client of redis-py: one timer for a whole command. Raises TimeoutError, an OSError, and its connection is then closed."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await super().execute_command(*args, **options)  # type: ignore[misc]


class _Client(TimedCommands, Redis):  # type: ignore[misc]  # redis-py's own stubs disagree with each other.
    pass


def connect(url: str, *, connections: int = 16) -> Redis:
    """A client on a pool of its own; nothing is opened before the first command. Close it with `aclose()`."""
    return _Client.from_pool(connection_pool(url, connections=connections))


class Wire:
    """One connection for one caller at a time, without what the pooled client does around each command.

    A pooled command costs a task, two timers and a condition; that is twice its own work. `pool` says how to connect; its own
    connections are left alone.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Connection | None = None

    async def call(self, *command: str | bytes | int) -> Any:
        """The answer; an error inside a list is left there. Raises RedisError or OSError, after which the next call connects anew."""
        (answer,) = await self.calls(command)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def calls(self, *commands: Command) -> list[Any]:
        """The answers to commands that are sent in one go; errors among them are left there. Raises as `call` does."""
        packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
        connection = self._connection if self._connection is not None and is_open(self._connection) else None
        try:
            if connection is not None:
                _write(connection, packed)
            async with asyncio.timeout(CALL_TIMEOUT_S):
                if connection is None:
                    connection = await self._dial()
                    _write(connection, packed)
                return [await _answer(connection) for _ in commands]
        except BaseException:
            # Its answer may still come, and would be taken for the next command's.
            await self.close()
            raise

    async def _dial(self) -> Connection:
        await self.close()
        self._connection = connection = cast("Connection", self._pool.make_connection())  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def _write(connection: Connection, data: bytes) -> None:
    """Without waiting: nothing more is sent before its answer, so no more than this can gather. Raises ConnectionError."""
    if connection._writer is None or not is_open(connection):
        raise ConnectionError("the connection is lost")
    connection._writer.write(data)


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error  # An answer like any other.


class Wires:
    """Wires for many callers: each call has one to itself, and waits for one where `count` are under way."""

    def __init__(self, pool: ConnectionPool, count: int = 16) -> None:
        self._pool = pool
        self._free: list[Wire] = []
        self._slots = asyncio.Semaphore(count)

    async def call(self, *command: str | bytes | int) -> Any:
        """As a wire's `call`. Raises TimeoutError, an OSError, too when none gets free in time."""
        if self._slots.locked():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        wire = self._free.pop() if self._free else Wire(self._pool)
        try:
            return await wire.call(*command)
        finally:
            self._free.append(wire)
            self._slots.release()

    async def close(self) -> None:
        while self._free:
            await self._free.pop().close()


def shard_of(turn_id: str, shards: int) -> int:
    """Which of the stream Redises holds this turn's log and channel. Every process must be given the same list, in the same order."""
    return crc32(turn_id.encode()) % shards
