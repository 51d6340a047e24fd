"""Redis clients, all made here: bounded pools, short timeouts, and which Redis holds a turn's log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any, NamedTuple
from zlib import crc32

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

CONNECT_TIMEOUT_S = 1.0
CALL_TIMEOUT_S = 5.0


class _Pool(BlockingConnectionPool):
    """A server that accepts and then says nothing must not hold up whoever connects: the greeting is timed with the dialing."""

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        # What redis-py asks before each command, whether there is anything to read, takes it a timer and a cancellation, a third of the
        # command. Nothing unread is ever left, since a command that is broken off closes its connection; so only a closed one matters.
        reader = connection._reader
        if reader is not None and not reader.at_eof() and reader.exception() is None:
            return
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await super().ensure_connection(connection)


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

    async def run(self, call: Callable[..., Awaitable[Any]], keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]) -> Any:
        """The script's answer. `call` sends one command: a client's `execute_command`, or a wire's `call`; it raises what that raises."""
        given = (len(keys), *keys, *arguments)
        try:
            return await call("EVALSHA", self.sha, *given)
        except NoScriptError:
            return await call("EVAL", self.text, *given)


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

    A pooled command costs a task, two timers and a condition; that is twice its own work, and a worker's log writer sends hundreds
    of commands a second. `pool` says how to connect; its own connections are left alone.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Connection | None = None

    async def call(self, *command: str | bytes | int) -> Any:
        """The answer; an error inside a list is left there. Raises RedisError or OSError, after which the next call connects anew."""
        connection = self._connection
        if connection is None:
            connection = self._connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await connection.send_packed_command(pack_command(command))  # type: ignore[arg-type]
                return await connection.read_response()
        except ResponseError:
            raise  # An answer like any other.
        except BaseException:
            # Its answer may still come, and would be taken for the next command's.
            await self.close()
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def shard_of(turn_id: str, shards: int) -> int:
    """Which of the stream Redises holds this turn's log and channel. Every process must be given the same list, in the same order."""
    return crc32(turn_id.encode()) % shards
