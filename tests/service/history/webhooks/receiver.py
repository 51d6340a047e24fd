"""A webhook's receiver that behaves as it is told, and remembers what it was sent. It verifies with the reference."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from deploy.local.processes import free_port
from shared.web.process import listening


class Receiver:
    """`secrets`: those that it accepts. `ways`: what it does with the next requests; then it accepts everything.

    A way is a status, `hang`, `abort`, `redirect` or `endless`. Only what it answered with 200 counts as received.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.secrets: list[str] = []
        self.ways: list[int | str] = []
        self.default: int | str = 200
        self.received: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()
        self.signatures: list[int] = []
        self.timestamps: defaultdict[str, list[str]] = defaultdict(list)
        self.unverified = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def types(self) -> list[str]:
        return [each["type"] for each in self.distinct()]

    def distinct(self) -> list[dict[str, Any]]:
        """Without repeats, in the order of their first arrival."""
        return list({each["id"]: each for each in reversed(self.received)}.values())[::-1]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body, headers = await request.read(), dict(request.headers)
        self.attempts[headers["webhook-id"]] += 1
        self.timestamps[headers["webhook-id"]].append(headers["webhook-timestamp"])
        way = self.ways.pop(0) if self.ways else self.default
        match way:
            case "hang":
                await asyncio.Event().wait()
            case "abort":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "redirect":
                raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest")
            case "endless":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 65_536)
                    await asyncio.sleep(0)
            case int() if way != 200:
                return web.Response(status=way)
        self._take(body, headers)
        return web.Response(text="thanks")

    def _take(self, body: bytes, headers: dict[str, str]) -> None:
        good = 0
        for secret in self.secrets:
            try:
                Webhook(secret).verify(body, headers)
            except Exception:
                continue
            good += 1
        if not good:
            self.unverified += 1
            return
        self.signatures.append(len(headers["webhook-signature"].split()))
        self.received.append({"id": headers["webhook-id"], **orjson.loads(body)})


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver(free_port())
    app = web.Application()
    app.router.add_post("/hook", receiver.answer)
    async with listening(web.AppRunner(app, shutdown_timeout=0.1), "127.0.0.1", receiver.port):
        yield receiver
