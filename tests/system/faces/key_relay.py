"""A proxy that adds the key to each request, for clients that cannot be given one."""

from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web
from yarl import URL

# Headers of one connection, and those that the proxy's own client writes.
_OWN: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "host"})


class KeyRelay:
    """`url` is the proxy's base URL. Bodies are passed on as they come, so streams stay streams."""

    def __init__(self, target: str, key: str) -> None:
        self._target = target
        self._key = key
        self.url = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _OWN]
        headers.append(("Authorization", f"Bearer {self._key}"))
        url, body = URL(self._target + request.raw_path, encoded=True), await request.read()
        async with self._http.request(request.method, url, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
