"""A client that sends turns while a store is away: how they are answered, and how soon one completes afterwards."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from tests.system.chaos.events import Accepted, Asked, Probed, Recovered
from tests.system.chaos.questions import question
from tests.system.chaos.visitor import GONE, GaveUp, Visitor, read_json

AGENT: Final = "quick"
EVERY_S: Final = 0.5
MOST: Final = 30
LIMIT_S: Final = 60.0
ENDED: Final = ("completed", "cancelled", "failed")


class Prober(Visitor):
    """Creates a session per probe before the outage, so that an accepted turn does not block the next probe."""

    async def prepare(self, seconds: float) -> list[str]:
        count = 2 + min(MOST, int(seconds / EVERY_S))
        created = [
            await self.call("POST", "/chat/sessions", {"agentId": self.world.agents[AGENT]}) for _ in range(count)
        ]
        sessions = [each["id"] for each in created]
        self.world.sessions.extend(sessions)
        return sessions

    async def knock(self, sessions: list[str], kind: str, seconds: float) -> None:
        """New turns, evenly over the outage. Until it is cancelled."""
        every_s = max(EVERY_S, seconds / MOST)
        while len(sessions) > 1:
            began = self.world.clock()
            await self._probe(sessions.pop(), kind)
            await asyncio.sleep(max(0.0, every_s - (self.world.clock() - began)))

    async def _probe(self, session: str, kind: str) -> None:
        request, body, headers = self._new_turn(session)
        at = self.world.clock()
        status, retry_after = 0, False
        try:
            async with self.ask("POST", f"/chat/sessions/{session}/messages", body, headers) as response:
                status, retry_after = response.status, "Retry-After" in response.headers
                answer = await read_json(response)
        except GONE:
            self.go_elsewhere()
        else:
            if status in (200, 202):
                self._accepted(request, answer)
        took_s = self.world.clock() - at
        self.world.history.add(Probed(at=at, kind=kind, status=status, took_s=took_s, retry_after=retry_after))

    async def recover(self, session: str, kind: str) -> None:
        """A first turn, from the store's return to its end."""
        began = self.world.clock()
        request, body, headers = self._new_turn(session)
        with suppress(TimeoutError, GaveUp):
            async with asyncio.timeout(LIMIT_S):
                turn = await self._have_accepted(request, session, body, headers)
                while (await self._turn(session, turn)).get("status") not in ENDED:
                    await asyncio.sleep(0.05)
        self.world.history.add(Recovered(at=self.world.clock(), kind=kind, after_s=self.world.clock() - began))

    async def _have_accepted(self, request: int, session: str, body: Any, headers: dict[str, str]) -> str:
        """Repeated quickly, and not as a refusal says: the time until the first success is what is measured."""
        while True:
            self.check_patience(request)
            try:
                async with self.ask("POST", f"/chat/sessions/{session}/messages", body, headers) as response:
                    answer = await read_json(response)
                    if response.status in (200, 202):
                        return self._accepted(request, answer)
            except GONE:
                pass
            self.go_elsewhere()
            await asyncio.sleep(0.1)

    async def _turn(self, session: str, turn: str) -> dict[str, Any]:
        return dict(await self.call("GET", f"/chat/sessions/{session}/turns/{turn}") or {})

    def _new_turn(self, session: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        request = next(self.world.requests)
        content = question(AGENT, request, self.dice)
        key = f"probe-{request}"
        self.world.history.add(Asked(at=self.world.clock(), request=request, session=session, content=content, key=key))
        return request, {"content": content}, {"Idempotency-Key": key, "Prefer": "respond-async"}

    def _accepted(self, request: int, answer: dict[str, Any]) -> str:
        turn = str(answer["data"]["turnId"])
        self.world.history.add(Accepted(at=self.world.clock(), request=request, turn=turn))
        return turn
