"""A way to history that notes the calls of one process: method, path, query, bodies, status."""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson
from aiohttp import web

from deploy.local.processes import free_port
from shared.web.process import listening

_PASSED: Final = ("Authorization", "Content-Type", "X-Request-Id", "traceparent")


class Tap:
    """Listens on `port` and forwards to `target`. Bodies that are no JSON (uploads) are noted as their length."""

    def __init__(self, caller: str, target: str, calls: list[dict[str, Any]]) -> None:
        self.port = free_port()
        self._caller = caller
        self._target = target
        self._calls = calls
        self._stop = asyncio.Event()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60.0), auto_decompress=True)
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._listening = listening(web.AppRunner(app), "127.0.0.1", self.port)
        await self._listening.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listening.__aexit__(kind, error, trace)
        if self._http is not None:
            await self._http.close()

    async def _forward(self, request: web.Request) -> web.Response:
        assert self._http is not None, "use the tap inside `async with`"
        body = await request.read()
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        try:
            async with self._http.request(
                request.method, self._target + request.path_qs, data=body or None, headers=headers
            ) as answer:
                reply, status, form = await answer.read(), answer.status, answer.content_type
        except (aiohttp.ClientError, OSError, TimeoutError):
            # What history's absence looks like to the caller, more or less: a scene may stop history.
            return web.Response(status=502)
        if request.path not in ("/readyz", "/healthz"):
            self._calls.append(
                {
                    "caller": self._caller,
                    "method": request.method,
                    "path": request.path,
                    "query": sorted([name, value] for name, value in request.query.items()),
                    "body": _json(body),
                    "status": status,
                    "reply": _json(reply),
                }
            )
        return web.Response(body=reply, status=status, content_type=form)


def _json(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except ValueError:
        return {"bytes": len(raw)}
