"""History as a worker sees it, in memory and with the real signatures."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.agents import AgentConfig, AgentVersion, Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import ClaimedTurn, ClaimTurn, ModelUse, StartAttempt, StartedAttempt
from shared.history_client import HistoryClient


@dataclass
class FakeTurn:
    """A turn document, as far as a worker touches it."""

    agent: AgentConfig
    number: int = 1
    context: tuple[TurnMessage, ...] = ()
    input: tuple[TurnMessage, ...] = ()
    attempt: int = 0
    tries: int = 0
    claims: dict[str, int] = field(default_factory=dict)
    terminal: bool = False
    cancel_requested: bool = False
    started: list[str] = field(default_factory=list)
    remaining_s: float = 30.0
    more: dict[str, Any] = field(default_factory=dict)


class FakeHistory(HistoryClient):
    """`away` makes every call fail as an unreachable history does.

    `undecided` delays the answer to a started attempt until it is set; `refuses` makes that answer a refusal.
    """

    def __init__(self) -> None:
        super().__init__(["http://127.0.0.1:9"], "token")
        self.turns: dict[str, FakeTurn] = {}
        self.shelf: list[Passage] = []
        self.away = False
        self.undecided: asyncio.Event | None = None
        self.refuses = False
        self.claims_seen: list[ClaimTurn] = []
        self.starts_seen: list[StartAttempt] = []
        self.released: list[int] = []
        self.spent: dict[int, tuple[ModelUse, ...]] = {}

    def _turn(self, turn_id: str) -> FakeTurn:
        if self.away:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        if turn_id not in self.turns:
            raise ApiError(Code.TURN_NOT_FOUND)
        return self.turns[turn_id]

    async def claim(self, workspace: str, turn_id: str, claim: ClaimTurn) -> ClaimedTurn:
        turn = self._turn(turn_id)
        self.claims_seen.append(claim)
        if turn.terminal:
            return ClaimedTurn(run=False)
        version = AgentVersion(agent_id="agt_1", number=turn.number, config=turn.agent, passage_count=len(self.shelf))
        return ClaimedTurn(
            run=True,
            attempt=turn.claims.get(claim.claim_id, turn.attempt + 1),
            agent_id="agt_1",
            agent_version=turn.number,
            agent=None if claim.knows_agent else version,
            session_id="ses_1",
            context=turn.context,
            input=turn.input,
            started_calls=tuple(turn.started),
            **turn.more,
        )

    async def start_attempt(self, workspace: str, turn_id: str, begin: StartAttempt) -> StartedAttempt:
        turn = self._turn(turn_id)
        claim_id, attempt = begin.claim_id, begin.attempt
        self.starts_seen.append(begin)
        if self.undecided is not None:
            await self.undecided.wait()
        if turn.terminal or self.refuses:
            return StartedAttempt(started=False)
        if claim_id not in turn.claims and attempt == turn.attempt + 1:
            turn.attempt = turn.claims[claim_id] = attempt
            turn.tries += 1
        started = turn.claims.get(claim_id) == attempt == turn.attempt
        return StartedAttempt(
            started=started, cancel_requested=turn.cancel_requested, waited_ms=5, remaining_s=turn.remaining_s
        )

    async def release(self, workspace: str, turn_id: str, attempt: int, uses: Sequence[ModelUse] = ()) -> None:
        self._turn(turn_id).tries -= 1
        self.released.append(attempt)
        self.spent[attempt] = tuple(uses)

    async def spend(self, workspace: str, turn_id: str, attempt: int, uses: Sequence[ModelUse]) -> None:
        self.spent[attempt] = tuple(uses)

    async def start_call(
        self, workspace: str, turn_id: str, attempt: int, call_key: str, uses: Sequence[ModelUse] = ()
    ) -> bool:
        turn = self._turn(turn_id)
        self.spent[attempt] = tuple(uses)
        if attempt != turn.attempt:
            return False
        turn.started.append(call_key)
        return True

    async def passages(self, workspace: str, agent_id: str, number: int) -> list[Passage]:
        if self.away:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        return self.shelf
