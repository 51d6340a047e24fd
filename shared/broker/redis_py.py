"""What Parley needs of redis-py beyond its public interface. No other file touches a private member of redis-py.

`tests/service/shared/broker/test_redis_py.py` fails when a release of redis-py changes what is used here.
"""

from typing import Any, Final, cast

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.broker.addresses import is_sentinel
from shared.broker.sentinel import sentinel_pool

CONNECT_TIMEOUT_S: Final = 1.0
_OPTIONS: Final[dict[str, Any]] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_timeout": None,
    "socket_keepalive": True,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    # Each would be one more round trip, with a command that a user of its own may not run.
    "lib_name": None,
    "lib_version": None,
}

Command = tuple[str | bytes | int | float, ...]


def connection_pool(url: str) -> ConnectionPool:
    """Knows how to connect to `url`, a plain Redis or one behind Sentinel. Parley takes new connections from it and
    never uses its pooling.

    redis-py retries nothing here: each failure has one owner, the caller. It applies no timeout to reads and writes
    either: its timeouts cost a task and a timer for each direction. `shared/broker/connections.py` times whole commands
    instead.
    """
    return sentinel_pool(url, _OPTIONS) if is_sentinel(url) else ConnectionPool.from_url(url, **_OPTIONS)


def new_connection(pool: ConnectionPool) -> Connection:
    """A connection that is not open yet. The pool does not know it, so the caller closes it."""
    return cast("Connection", pool.make_connection())  # type: ignore[no-untyped-call]


def is_open(connection: AbstractConnection) -> bool:
    """False once this process has seen the connection end or be reset by its peer.

    Ask right before a write: uvloop raises RuntimeError for a transport that is closed.
    """
    reader = connection._reader
    return reader is not None and not reader.at_eof() and reader.exception() is None


def write(connection: AbstractConnection, data: bytes) -> None:
    """Writes without waiting for the transport's buffer to drain. Raises ConnectionError for a lost connection.

    The caller sends nothing more before it has the answer, so the buffer never holds more than one batch of commands.
    """
    if connection._writer is None or not is_open(connection):
        raise ConnectionError("the connection is lost")
    connection._writer.write(data)


def parse(client: Any, command: str | bytes, answer: Any, options: dict[str, Any]) -> Any:
    """What a redis-py client makes of a command's raw answer."""
    callback = client.response_callbacks.get(command)
    if callback is None:
        return answer
    options.pop("keys", None)  # Only redis-py's client-side cache reads it.
    return callback(answer, **options)
