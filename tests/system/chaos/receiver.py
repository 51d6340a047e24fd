"""A workspace's own server, which is told of events. Under load it fails, hangs and lies at times; it verifies each
delivery with the reference library of Standard Webhooks.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from deploy.local.processes import free_port
from shared.web.process import listening
from tests.system.chaos.events import History, Told

# Each for one of a hundred attempts and more. The first four do not take the event. The others take it, and then deny
# it, or answer so that nobody can be sure.
WAYS: Final = {"fail": 6, "abort": 4, "hang": 3, "redirect": 3, "deny": 5, "break off": 4, "endless": 3}
# Of one event, so that its pauses stay short: a run ends when all events are told.
MOST_FAILURES: Final = 2


class Receiver:
    """An async context. It is well until `hurt`, and again after `heal`."""

    def __init__(self, history: History, clock: Callable[[], float], dice: random.Random) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/events"
        self.secret = ""
        self.published: set[str] = set()
        self.did: Counter[str] = Counter()
        self._history = history
        self._clock = clock
        self._dice = dice
        self._is_hurt = False
        self._failures: Counter[str] = Counter()
        self._healed = asyncio.Event()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/events", self._answer)
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        await self._open.enter_async_context(listening(web.AppRunner(app, shutdown_timeout=0.1), "127.0.0.1", port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        await self._open.aclose()

    def hurt(self) -> None:
        self._is_hurt = True

    def heal(self) -> None:
        self._is_hurt = False
        self._healed.set()

    def _way(self, event_id: str) -> str:
        if not self._is_hurt or self._failures[event_id] >= MOST_FAILURES:
            return "take"
        way = self._dice.choices(["take", *WAYS], [100 - sum(WAYS.values()), *WAYS.values()])[0]
        self._failures[event_id] += way not in ("take", "endless")
        return way

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body, headers = await request.read(), dict(request.headers)
        way = self._way(headers.get("webhook-id", ""))
        self.did[way] += 1
        if way in ("take", "deny", "break off", "endless"):
            self._take(body, headers)
        match way:
            case "fail" | "deny":
                return web.Response(status=self._dice.choice([400, 404, 429, 500, 503]))
            case "abort" | "break off":
                _abort(request)
            case "hang":
                await self._healed.wait()
                # Whoever still waits then must not be thanked for what was not taken.
                _abort(request)
            case "redirect":
                raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest")
            case "endless":
                return await self._without_end(request)
        return web.Response(text="thanks")

    async def _without_end(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionResetError):
            while not self._healed.is_set():
                await response.write(b"x" * 4_096)
                await asyncio.sleep(0.05)
        return response

    def _take(self, body: bytes, headers: dict[str, str]) -> None:
        try:
            Webhook(self.secret).verify(body, headers)
            verified = True
        except WebhookVerificationError:
            verified = False
        event: dict[str, Any] = orjson.loads(body)
        data = event["data"]
        if event["type"] == "agent.published":
            self.published.add(data["agentId"])
        self._history.add(
            Told(
                at=self._clock(),
                event=headers["webhook-id"],
                type=event["type"],
                session=data.get("sessionId") or "",
                turn=data.get("turnId") or "",
                status=data.get("status") or "",
                verified=verified,
            )
        )


def _abort(request: web.Request) -> None:
    if request.transport is not None:  # None: the sender has gone.
        request.transport.abort()
