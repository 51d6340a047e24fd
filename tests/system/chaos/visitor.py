"""What all clients of a chaos run share: the choice of a gateway, repeated requests, and the record of events."""

import asyncio
import itertools
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from tests.system.chaos.events import Failed, History, Overdue

# A gateway pings at least every 5 s: whoever hears nothing for longer goes elsewhere.
SILENCE_S: Final = 7.0
# A request that waits for its whole answer hears nothing until then.
WHOLE_ANSWER_S: Final = 20.0
CONNECT_S: Final = 3.0
# A stream that lives and tells nothing is left and resumed, so that a client's patience can end.
STREAM_LIMIT_S: Final = 15.0
GONE: Final = (aiohttp.ClientError, TimeoutError, OSError)
_ID: Final = re.compile(r"(ses|trn|agt|src|chatcmpl)[_-][0-9a-z]+|\?.*")


class GaveUp(Exception):
    """The turn had no end, long after the last fault."""


@dataclass(kw_only=True)
class World:
    """One per run. `calm_since`: when the last fault was healed and all processes were ready again.

    `closing` tells clients to begin nothing new.
    """

    gateways: list[str]
    secret: str
    agents: dict[str, str]
    http: aiohttp.ClientSession
    history: History
    clock: Callable[[], float]
    patience_s: float
    think_s: float = 2.0
    calm_since: float | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    requests: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    views: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    sessions: list[str] = field(default_factory=list)
    # Those of which a deletion was asked for; they may be gone or not until it is acknowledged.
    deleting: set[str] = field(default_factory=set)
    # How many requests were refused or broken so many times in a row before one was answered.
    streaks: Counter[int] = field(default_factory=Counter)
    sent_on: int = 0


class Visitor:
    """One client, with its own dice."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self._gateway = ""
        self._asked = ""
        self._elsewhere = False
        self._wait_s = 0.0
        self._streak = 0

    async def think(self) -> None:
        """A pause between two turns, which ends when the run does."""
        try:
            async with asyncio.timeout(self.dice.uniform(0.0, self.world.think_s)):
                await self.world.closing.wait()
        except TimeoutError:
            pass

    def check_patience(self, request: int, turn: str = "") -> None:
        """Raises GaveUp, and records it, when the faults are over for longer than any turn may take."""
        calm = self.world.calm_since
        now = self.world.clock()
        if calm is not None and now - calm > self.world.patience_s:
            self.world.history.add(Overdue(at=now, request=request, turn=turn, waited_s=now - calm))
            raise GaveUp

    async def pause(self) -> None:
        """Before a repeat: as long as the refusal said."""
        wait_s, self._wait_s = self._wait_s, 0.0
        await asyncio.sleep(max(wait_s, self.dice.uniform(0.1, 0.6)))

    def failed(self, failure: aiohttp.ClientResponse | BaseException) -> None:
        """A request was refused for now, or broke. The next one goes elsewhere, as behind a load balancer."""
        self._streak += 1
        self.go_elsewhere()
        if isinstance(failure, aiohttp.ClientResponse):
            self._wait_s = float(failure.headers.get("Retry-After", 0.0))
            what = str(failure.status)
        else:
            what = type(failure).__name__
        gateway = f"gateway-{self.world.gateways.index(self._gateway) + 1}"
        self.world.history.add(
            Failed(at=self.world.clock(), asked=self._asked, gateway=gateway, what=what, tries=self._streak)
        )

    def sent_on(self, response: aiohttp.ClientResponse) -> None:
        """A draining gateway answers a waiting caller with the turn's id. The turn was accepted and goes on."""
        self.succeeded()
        self.go_elsewhere()
        self._wait_s = float(response.headers.get("Retry-After", 0.0))
        self.world.sent_on += 1

    def go_elsewhere(self) -> None:
        """A stream of this gateway broke off: whoever stands between would choose another one for the next request."""
        self._elsewhere = True

    def succeeded(self) -> None:
        if self._streak:
            self.world.streaks[self._streak] += 1
            self._streak = 0

    def _choose_gateway(self) -> str:
        others = [url for url in self.world.gateways if url != self._gateway]
        self._gateway = self.dice.choice(others if self._elsewhere and others else self.world.gateways)
        self._elsewhere = False
        return self._gateway

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        silence_s: float = SILENCE_S,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """At any gateway; a body of bytes is sent as it is. Raises GONE's exceptions."""
        url = self._choose_gateway() + path
        self._asked = f"{method} {_ID.sub('*', path)}"
        all_headers = {
            "Authorization": f"Bearer {self.world.secret}",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=silence_s)
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        async with self.world.http.request(method, url, data=data, headers=all_headers, timeout=timeout) as response:
            yield response

    async def call(self, method: str, path: str, body: Any = None, *, request: int = 0) -> Any:
        """Repeats one safe call until it succeeds. Returns the data of the answer, None for a 404 or a 409."""
        while True:
            self.check_patience(request)
            try:
                async with self.ask(method, path, body) as response:
                    value = await read_json(response)
                    if response.status < 300 or response.status in (404, 409):
                        self.succeeded()
                        return value["data"] if response.status < 300 else None
                    self.failed(response)
            except GONE as error:
                self.failed(error)
            await self.pause()

    async def status(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> int:
        """How one call is answered that may be repeated; it is, while the answer is only about now.

        The body is not read.
        """
        while True:
            self.check_patience(0)
            try:
                async with self.ask(method, path, body, headers) as response:
                    if response.status not in (429, 500, 502, 503, 504):
                        self.succeeded()
                        return response.status
                    self.failed(response)
            except GONE as error:
                self.failed(error)
            await self.pause()

    async def page(self, path: str) -> dict[str, Any]:
        """A page with its envelope; repeated until there is one."""
        while True:
            self.check_patience(0)
            try:
                async with self.ask("GET", path) as response:
                    if response.status == 200:
                        return await read_json(response)
            except GONE:
                pass
            self.go_elsewhere()
            await self.pause()


async def read_json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """An empty object for anything else. Raises GONE's exceptions when the body breaks off."""
    try:
        value = orjson.loads(await response.read() or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def assistant_text(messages: list[dict[str, Any]]) -> str:
    return "".join(message.get("content") or "" for message in messages if message.get("role") == "assistant")
