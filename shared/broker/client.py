"""Redis clients: redis-py's commands and parsing of answers, sent over this package's connections."""

from typing import Any

from redis.asyncio import ConnectionPool, Redis

from shared.broker.connections import ConnectionSet
from shared.broker.redis_py import connection_pool, parse


class DirectCommands:
    """Mix this in before a redis-py client class, and set `connections` before the first command.

    Every command then goes through `connections`. Raises RedisError or OSError. `pipeline()` and `pubsub()` would use
    redis-py's own pool, which has no timeouts here: send several commands with PipelinedConnection.calls, subscribe
    with shared/broker/pubsub.
    """

    connections: ConnectionSet

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return parse(self, args[0], await self.connections.call(*args), options)

    async def aclose(self, close_connection_pool: bool | None = True) -> None:
        await self.connections.close()
        await super().aclose(close_connection_pool)  # type: ignore[misc]


class Client(DirectCommands, Redis):  # type: ignore[misc]  # redis-py's own stubs disagree with each other.
    def __init__(self, pool: ConnectionPool, connections: ConnectionSet) -> None:
        super().__init__(connection_pool=pool)
        self.connections = connections


def connect(url: str, *, connections: int = 16) -> Client:
    """A client with its own connections, at most so many.

    It connects at the first command. Close it with `aclose()`.
    """
    pool = connection_pool(url)
    return Client(pool, ConnectionSet(pool, connections))
