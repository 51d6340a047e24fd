"""The route of the private port. It asks the named processes, at most once a second."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp import web

from services.gateway.admin.page import HEADERS, page
from services.gateway.settings import GatewaySettings
from shared.overview.collector import Collector
from shared.overview.overview import Overview

KEPT_S: Final = 1.0


def targets(settings: GatewaySettings) -> tuple[str, ...]:
    """What the setting names; else this gateway and history."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 (compared, not bound)
    return settings.overview_targets or (f"http://{host}:{settings.private_port}", *settings.history_urls)


class Looks:
    """One look for all who ask within a second: the page costs the processes next to nothing."""

    def __init__(self, look: Callable[[], Awaitable[Overview]]) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._seen: tuple[float, Overview] | None = None

    async def latest(self) -> Overview:
        async with self._lock:
            if self._seen is None or time.monotonic() - self._seen[0] > KEPT_S:
                self._seen = time.monotonic(), await self._look()
            return self._seen[1]


_LOOKS: Final = web.AppKey("looks", Looks)


def add_admin(app: web.Application, settings: GatewaySettings) -> None:
    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as http:
            app[_LOOKS] = Looks(Collector(http, targets(settings), settings.history_tls).look)
            yield

    app.cleanup_ctx.append(opened)
    app.add_routes([web.get("/admin", _serve)])


async def _serve(request: web.Request) -> web.StreamResponse:
    body = page(await request.app[_LOOKS].latest())
    return web.Response(text=body, content_type="text/html", charset="utf-8", headers=HEADERS)
