"""Asks processes for their metrics and readiness. One that is away is shown as away and holds nobody up."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
import orjson

from shared.overview.overview import Overview, Process, overview_of
from shared.overview.readings import Reading

TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0, sock_connect=1.0)
# An answer beyond this is no process of ours.
MAX_BYTES: Final = 4 << 20
MAX_PROCESSES: Final = 500


class Collector:
    """`urls`: private base URLs. A name with several addresses stands for the processes at all of them.

    `tls`: for `https` URLs, the context of the internal API.
    """

    def __init__(self, http: aiohttp.ClientSession, urls: Sequence[str], tls: ssl.SSLContext | None = None) -> None:
        self._http = http
        self._urls = urls
        self._tls: Any = tls if tls is not None else True
        self._before: dict[str, Reading] = {}

    async def look(self) -> Overview:
        """Rates are those since the last look. Raises nothing."""
        expanded = await asyncio.gather(*(_addresses(url) for url in self._urls))
        urls = list(dict.fromkeys(url for of in expanded for url in of))[:MAX_PROCESSES]
        asked = await asyncio.gather(*(self._ask(url) for url in urls))
        now = {process.url: reading for process, reading in asked if reading is not None}
        before, self._before = self._before, now
        return overview_of(tuple(process for process, _ in asked), now, before)

    async def _ask(self, url: str) -> tuple[Process, Reading | None]:
        try:
            reading = Reading.parse((await self._get(f"{url}/metrics")).decode(), time.monotonic())
            failing = orjson.loads(await self._get(f"{url}/readyz")).get("failing") or ()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError):
            return Process(url=url, kind="unknown", state="away"), None
        names = tuple(str(name) for name in failing)
        state = "not ready" if names else "ready"
        return Process(url=url, kind=reading.kind, state=state, failing=names), reading

    async def _get(self, url: str) -> bytes:
        tls = self._tls if url.startswith("https:") else True
        async with self._http.get(url, timeout=TIMEOUT, ssl=tls, allow_redirects=False) as response:
            body = await response.content.read(MAX_BYTES)
            while len(body) < MAX_BYTES and (more := await response.content.read(MAX_BYTES - len(body))):
                body += more
            return body


async def _addresses(url: str) -> list[str]:
    """With `https` the name stays: the certificate has it."""
    parts = urlsplit(url.rstrip("/"))
    if parts.scheme != "http" or parts.hostname is None:
        return [url.rstrip("/")]
    try:
        async with asyncio.timeout(2.0):
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, parts.port or 80, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError):
        return [url.rstrip("/")]
    # Of IPv4 alone; the declaration has the places of all families.
    places = [cast("tuple[str, int]", place) for *_, place in found]
    return [f"http://{address}:{port}" for address, port in places]
