"""Connections to Redis without the overhead of a pooled client: a command or several in one write, and their answers.

A command of redis-py's pooled client costs a task, two timers and a condition; that is twice the command's own work.
"""

import asyncio
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.broker.redis_py import Command, is_open, new_connection, write
from shared.broker.script import operation_of
from shared.store_metrics import measured

CALL_TIMEOUT_S = 5.0
# A server answers so when it is a replica now, or a master that has lost its replicas: an outage of this connection.
_NO_MASTER = ("UNBLOCKED", "MASTERDOWN", "NOREPLICAS", "READONLY")


class PipelinedConnection:
    """One connection for one caller at a time. It connects on first use, and again after a failure."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Connection | None = None

    async def call(self, *command: str | bytes | int | float) -> Any:
        """The answer.

        An error inside a list stays in the list. Raises RedisError or OSError; the next call reconnects.
        """
        (answer,) = await self.calls(command)
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def calls(self, *commands: Command) -> list[Any]:
        """The answers to commands that are sent in one write. An error answer is an element. Raises as `call` does."""
        packed = b"".join([_packed(command) for command in commands])
        connection = self._connection if self._connection is not None and is_open(self._connection) else None
        try:
            if connection is not None:
                write(connection, packed)
            async with asyncio.timeout(CALL_TIMEOUT_S):
                if connection is None:
                    connection = await self._connect()
                    write(connection, packed)
                return [await _answer(connection) for _ in commands]
        except BaseException:
            # The answer may still arrive, and the next command would take it for its own.
            await self.close()
            raise

    async def _connect(self) -> Connection:
        await self.close()
        self._connection = connection = new_connection(self._pool)
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


# Commands that wait for news: their time says nothing about Redis.
_WAITING: Final = frozenset({"blpop", "xread", "xreadgroup"})
_NO_ANSWER: Final = (RedisConnectionError, RedisTimeoutError, OSError)


class ConnectionSet:
    """Up to `count` connections for many callers. Each call has one to itself; further calls wait for a free one."""

    def __init__(self, pool: ConnectionPool, count: int = 16) -> None:
        self._pool = pool
        self._free: list[PipelinedConnection] = []
        self._slots = asyncio.Semaphore(count)

    async def call(self, *command: str | bytes | int | float) -> Any:
        """As PipelinedConnection's `call`.

        Raises TimeoutError, an OSError, also when no connection gets free in time.
        """
        if self._slots.locked():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        connection = self._free.pop() if self._free else PipelinedConnection(self._pool)
        try:
            operation = operation_of(command)
            if operation in _WAITING:
                return await connection.call(*command)
            with measured("redis", operation, _NO_ANSWER):
                return await connection.call(*command)
        finally:
            self._free.append(connection)
            self._slots.release()

    async def close(self) -> None:
        while self._free:
            await self._free.pop().close()


def _packed(command: Command) -> bytes:
    """Raises DataError for an argument that Redis has no form for."""
    name = command[0]
    if isinstance(name, str) and " " in name:  # redis-py names commands like this: "XGROUP CREATE".
        command = (*name.split(), *command[1:])
    try:
        packed: bytes = pack_command(command)  # type: ignore[arg-type]
    except TypeError as error:
        raise DataError(str(error)) from None
    return packed


async def _answer(connection: Connection) -> Any:
    """Raises ConnectionError if the server is no master any more, so that the caller connects anew."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        # Redis 6 puts the code of a script's fault after a text of its own.
        text = str(error)
        if isinstance(error, ReadOnlyError) or text.startswith(_NO_MASTER) or "-READONLY" in text:
            raise ConnectionError("this Redis takes no writes any more") from error
        return error
