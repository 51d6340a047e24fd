"""Redis clients, all made here: bounded pools, short timeouts, and which Redis holds a turn's log."""

from zlib import crc32

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CONNECT_TIMEOUT_S = 1.0
CALL_TIMEOUT_S = 5.0


def connection_pool(url: str, *, connections: int = 16, call_timeout_s: float | None = CALL_TIMEOUT_S) -> BlockingConnectionPool:
    """A pool that makes callers wait instead of opening a connection per concurrent command, as redis-py's default does.

    It retries nothing by itself: each failure has one owner, and that is the caller.
    """
    return BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=CONNECT_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=call_timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
    )


def connect(url: str, *, connections: int = 16, call_timeout_s: float | None = CALL_TIMEOUT_S) -> Redis:
    """A client on a pool of its own; nothing is opened before the first command. Close it with `aclose()`."""
    return Redis.from_pool(connection_pool(url, connections=connections, call_timeout_s=call_timeout_s))


def shard_of(turn_id: str, shards: int) -> int:
    """Which of the stream Redises holds this turn's log and channel. Every process must be given the same list, in the same order."""
    return crc32(turn_id.encode()) % shards
