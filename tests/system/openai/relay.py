"""A proxy before a gateway: it notes each request with the status of its answer, and drops answers on demand."""

from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


class Seen(NamedTuple):
    case: str
    retry_count: str
    idempotency_key: str | None
    status: int


class Relay:
    """For answers that are whole documents. `lose`: so many answers are received from the gateway but never passed on.

    A client names its case in the header `x-case`, and may name another gateway in `x-target`.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.seen: list[Seen] = []
        self.lose = 0
        self.base = ""

    def of(self, case: str) -> list[int]:
        return [seen.status for seen in self.seen if seen.case == case]

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.base = f"http://{host}:{port}/api/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        case, target = headers.pop("x-case", ""), headers.pop("x-target", self._target)
        url, body = URL(target + request.raw_path, encoded=True), await request.read()
        async with self._http.request(request.method, url, data=body, headers=headers) as answer:
            raw = await answer.read()
        counted = Seen(case, headers.get("x-stainless-retry-count", "0"), headers.get("Idempotency-Key"), answer.status)
        self.seen.append(counted)
        if self.lose and request.transport is not None:
            self.lose -= 1
            request.transport.abort()
        told = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        return web.Response(status=answer.status, headers=told, body=raw)
