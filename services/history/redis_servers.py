"""Looks at what each Redis is, and says in one line what Parley cannot work with or what is a risk."""

import time
from collections.abc import Sequence
from typing import Final

from redis.exceptions import NoPermissionError

from shared.broker.client import connect
from shared.broker.suitability import Unsuitable, unsuitable
from shared.log import get_logger

log = get_logger()

LOOK_EVERY_S: Final = 60.0


class RefusedRedis(Exception):
    """A Redis with which no turn can run: history is not ready."""


class RedisServers:
    """Asked by `/readyz`. It looks once a minute; each fault is logged once while it lasts."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(dict.fromkeys(urls))
        self._told: set[str] = set()
        self._fatal: str | None = None
        self._next_look = 0.0

    async def suitable(self) -> None:
        """Raises RefusedRedis, or RedisError or OSError while one is away."""
        if time.monotonic() >= self._next_look:
            await self._look()
            self._next_look = time.monotonic() + LOOK_EVERY_S
        if self._fatal is not None:
            raise RefusedRedis(self._fatal)

    async def _look(self) -> None:
        found = [fault for url in self._urls for fault in await _faults(url)]
        for fault in found:
            if fault.message not in self._told:
                (log.error if fault.fatal else log.warning)(fault.code, reason=fault.message, mend="run parley doctor")
        self._told = {fault.message for fault in found}
        self._fatal = next((fault.message for fault in found if fault.fatal), None)


async def _faults(url: str) -> list[Unsuitable]:
    client = connect(url, connections=1)
    try:
        return unsuitable(await client.info())
    except NoPermissionError:
        return []  # The user may not ask. Everything else works.
    finally:
        await client.aclose()
