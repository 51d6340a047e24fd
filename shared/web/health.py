"""`/healthz`, `/readyz` and `/metrics` of every process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.log import get_logger
from shared.web.bodies import json_response

log = get_logger()
Check = Callable[[], Awaitable[None]]

CHECK_TIMEOUT_S: Final = 1.0


def health_routes(checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """`/healthz` (alive), `/readyz` (runs the checks and names those that fail) and `/metrics`."""

    async def ready(name: str, check: Check) -> str | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await check()
        except Exception as error:
            log.debug("not_ready", dependency=name, error=type(error).__name__)
            return name
        return None

    async def healthz(_: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        names = await asyncio.gather(*(ready(name, check) for name, check in checks.items()))
        failing = [name for name in names if name]
        body = {"status": "unavailable" if failing else "ok", "failing": failing}
        return json_response(body, status=503 if failing else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
