"""A workspace with a key of its own, and what is asked of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from tests.bench.targets import Address
from tests.bench.wire import BadAnswer, Wire, http_request

Asking = Callable[[Any], Awaitable[Any]]


class Workspace:
    def __init__(self, gateway: Address, name: str, key: str) -> None:
        self.name = name
        self._gateway = gateway
        self._key = key
        self._wire: Wire | None = None
        self._changes = 0
        self._slugs: dict[str, str] = {}

    async def get(self, path: str) -> Any:
        return await self._ask("GET", path)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        if self._wire is None or self._wire.closed:
            self._wire = await self._gateway.open()
        sent = orjson.dumps(body) if body is not None else b""
        answer = await self._wire.ask(http_request(method, f"/api/v1{path}", self._gateway.host, self._key, sent))
        if answer.status >= 300:
            raise BadAnswer(f"{method} {path}: HTTP {answer.status}: {answer.body()[:300]!r}")
        return orjson.loads(answer.body())

    async def new_agent(self, model: str) -> str:
        """A published agent's id."""
        made = await self._ask("POST", "/agents", {"name": "grown", "model": {"name": model}})
        agent: str = made["data"]["id"]
        self._slugs[agent] = made["data"]["slug"]
        await self._ask("POST", f"/agents/{agent}/publish", {})
        return agent

    async def new_session(self, agent: str) -> str:
        session: str = (await self._ask("POST", "/chat/sessions", {"agentId": agent}))["data"]["id"]
        return session

    async def turn(self, session: str) -> None:
        await self._ask("POST", f"/chat/sessions/{session}/messages", {"content": "And then?", "stream": False})

    async def first_turn(self, agent: str) -> None:
        await self.turn(await self.new_session(agent))

    async def completion(self, model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "And then?"}]}
        await self._ask("POST", "/chat/completions", body)

    async def completion_by_slug(self, agent: str) -> None:
        await self.completion(self._slugs[agent])

    async def change_and_publish(self, agent: str) -> None:
        self._changes += 1
        await self._ask("PATCH", f"/agents/{agent}", {"instructions": f"Change {self._changes}."})
        await self._ask("POST", f"/agents/{agent}/publish", {})

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
