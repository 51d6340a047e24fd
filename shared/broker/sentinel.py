"""Connections to the master that Sentinels name. Each new connection asks them, so it finds the master after a
fail-over.
"""

import asyncio
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError

from shared.broker.addresses import SentinelAddress, sentinel_address
from shared.log import get_logger

log = get_logger()

# For one Sentinel's answer, and for a connection to the master it names: a command has 5 s for all of them.
ASK_TIMEOUT_S: Final = 1.0
REACH_TIMEOUT_S: Final = 2.0

Address = tuple[str, int]


class Sentinels:
    """The Sentinels of one master. The one that was right last is asked first."""

    def __init__(self, address: SentinelAddress, connection_class: type[Connection], options: Any) -> None:
        """`options`: a connection's, without those that only the Redis servers take."""
        self._order = list(address.sentinels)
        self._failing: set[Address] = set()
        self._master = address.master
        self._class = connection_class
        self._options = options | {"username": address.username, "password": address.password}

    def order(self) -> list[Address]:
        return list(self._order)

    def was_right(self, sentinel: Address) -> None:
        self._order.remove(sentinel)
        self._order.insert(0, sentinel)

    async def master(self, sentinel: Address) -> Address | None:
        """What this Sentinel names, or None: it does not answer, or does not know the master."""
        connection: Any = self._class(host=sentinel[0], port=sentinel[1], **self._options)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await connection.connect()
                await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
                answer = await connection.read_response()
        except (RedisError, OSError) as error:
            self._complain(sentinel, "sentinel_failed", error=type(error).__name__)
            return None
        finally:
            await connection.disconnect(nowait=True)
        if answer is None:
            self._complain(sentinel, "sentinel_knows_no_master", master=self._master)
            return None
        self._failing.discard(sentinel)
        return answer[0].decode(), int(answer[1])

    def _complain(self, sentinel: Address, event: str, **facts: str) -> None:
        """Once, until it answers again: during an outage each process asks many times a second."""
        if sentinel not in self._failing:
            self._failing.add(sentinel)
            log.warning(event, sentinel=f"{sentinel[0]}:{sentinel[1]}", **facts)


class _ToMaster(AbstractConnection):
    """Mix this in before a connection class of redis-py."""

    host: str
    port: int

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    async def connect(self) -> None:
        """Raises redis-py's ConnectionError when no Sentinel names a server that is a master now."""
        if self.is_connected:
            return
        tried: set[Address] = set()
        for sentinel in self._sentinels.order():
            master = await self._sentinels.master(sentinel)
            if master is None or master in tried:
                continue
            tried.add(master)
            if await self._reaches(master):
                self._sentinels.was_right(sentinel)
                return
        raise RedisConnectionError("no Sentinel names a master that can be reached")

    async def _reaches(self, address: Address) -> bool:
        """A Sentinel that was cut off from the others may still name the old master."""
        self.host, self.port = address
        reached = False
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S):
                await super().connect()  # type: ignore[no-untyped-call]
                reached = await self._is_master()
        except (RedisError, OSError) as error:
            # Whoever asked for the connection logs the outage.
            log.debug("redis_master_unreachable", master=f"{self.host}:{self.port}", error=type(error).__name__)
        finally:
            if not reached:
                await self.disconnect(nowait=True)
        return reached

    async def _is_master(self) -> bool:
        await self.send_command("ROLE")
        try:
            role = (await self.read_response())[0]
        except NoPermissionError:
            return True  # Then the first write tells.
        return bool(role == b"master")


class _PlainToMaster(_ToMaster, Connection):
    pass


class _TlsToMaster(_ToMaster, SSLConnection):
    pass


def sentinel_pool(url: str, options: dict[str, Any]) -> ConnectionPool:
    """As `shared/broker/redis_py.py`'s `connection_pool`. `options`: of every connection, also to Sentinels.

    Raises ValueError for a URL that is not one.
    """
    address = sentinel_address(url)
    server: dict[str, Any] = {**parse_url(address.server)}
    for name in ("host", "port"):
        server.pop(name, None)
    tls = server.pop("connection_class", None) is SSLConnection
    shared = options | {name: value for name, value in server.items() if name.startswith("ssl_")}
    sentinels = Sentinels(address, SSLConnection if tls else Connection, shared)
    to_master = _TlsToMaster if tls else _PlainToMaster
    return ConnectionPool(to_master, sentinels=sentinels, **options | server)
