"""The guardrails of one attempt at a turn: they run in the author's order, each on what the one before has left."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from services.agent_worker.guardrails.hooks import Hooks
from services.agent_worker.guardrails.patterns import check_patterns
from services.agent_worker.guardrails.verdicts import Block, Blocked, GuardrailFailure, Texts, Verdict
from services.agent_worker.metrics import GUARDRAILS
from shared.contracts.guardrails import Action, CheckedInput, Guardrail, GuardrailAct, PatternsGuardrail, Stage
from shared.contracts.sessions import TurnMessage
from shared.log import get_logger

log = get_logger()

# Characters by which all replacements of one attempt together may be longer than what they replace.
MAX_GROWTH: Final = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardScope:
    """Whose turn it is. `key` is unique to the attempt. `facts` are what a guardrail's server is told of the turn.

    Turns of checks are not counted.
    """

    workspace: str
    key: str
    facts: dict[str, Any]
    is_check: bool = False


class TurnGuard:
    """`show` is told when a guardrail has acted."""

    def __init__(
        self,
        hooks: Hooks,
        guardrails: Iterable[Guardrail],
        scope: GuardScope,
        show: Callable[[GuardrailAct], Awaitable[None]],
    ) -> None:
        self.acts: dict[GuardrailAct, None] = {}  # In the order of their first time.
        self.checked_input: CheckedInput | None = None
        self._hooks = hooks
        self._scope = scope
        self._show = show
        self._requests = 0
        self._room = MAX_GROWTH
        self._of: dict[Stage, list[Guardrail]] = {"input": [], "output": []}
        for guardrail in guardrails:
            self._of[guardrail.stage].append(guardrail)

    @property
    def has_input(self) -> bool:
        return bool(self._of["input"])

    @property
    def has_output(self) -> bool:
        return bool(self._of["output"])

    async def input(self, messages: tuple[TurnMessage, ...]) -> tuple[TurnMessage, ...]:
        """The messages as a model may have them. Raises Blocked."""
        said = [message for message in messages if message.role == "user" and message.content]
        before = [message.content or "" for message in said]
        try:
            after = await self.checked("input", before) if said else []
        except Blocked:
            self.checked_input = CheckedInput(blocked=True)
            raise
        texts = {message.id: new for message, old, new in zip(said, before, after, strict=True) if new != old}
        self.checked_input = CheckedInput(texts=texts)
        return self.checked_input.applied(messages)

    async def checked(self, stage: Stage, texts: list[str]) -> list[str]:
        """The texts as they may go on, one for each. Raises Blocked."""
        for guardrail in self._of[stage]:
            verdict = await self._verdict(guardrail, texts)
            if isinstance(verdict, Block):
                await self._acted(guardrail, "block")
                raise Blocked(verdict.message)
            if verdict.texts != texts:
                await self._acted(guardrail, "replace")
                texts = verdict.texts
            else:
                self._count(stage, "allowed")
        return texts

    async def _verdict(self, guardrail: Guardrail, texts: list[str]) -> Verdict:
        try:
            if isinstance(guardrail, PatternsGuardrail):
                verdict = await check_patterns(guardrail, texts)
            else:
                self._requests += 1
                request_id = f"{self._scope.key}-{self._requests}"
                verdict = await self._hooks.check(
                    guardrail, self._scope.workspace, request_id, self._scope.facts, texts
                )
            self._bound(verdict, texts)
        except GuardrailFailure as failure:
            return self._after_failure(guardrail, failure, texts)
        return verdict

    def _bound(self, verdict: Verdict, texts: list[str]) -> None:
        """Raises GuardrailFailure: replacements must not make a turn too large for its document."""
        if isinstance(verdict, Texts) and verdict.texts is not texts:
            growth = sum(map(len, verdict.texts)) - sum(map(len, texts))
            if growth > self._room:
                raise GuardrailFailure("the replacements are too long")
            self._room -= max(0, growth)

    def _after_failure(self, guardrail: Guardrail, failure: GuardrailFailure, texts: list[str]) -> Verdict:
        is_open = not isinstance(guardrail, PatternsGuardrail) and guardrail.on_failure == "allow"
        self._count(guardrail.stage, "failed_open" if is_open else "failed_closed")
        log.warning("guardrail_failed", guardrail=guardrail.name, reason=str(failure)[:200], allowed=is_open)
        return Texts(texts) if is_open else Block(guardrail.message)

    async def _acted(self, guardrail: Guardrail, action: Action) -> None:
        act = GuardrailAct(stage=guardrail.stage, action=action, name=guardrail.name)
        self._count(guardrail.stage, "blocked" if action == "block" else "replaced")
        self.acts[act] = None
        await self._show(act)

    def _count(self, stage: Stage, outcome: str) -> None:
        if not self._scope.is_check:
            GUARDRAILS.labels(stage, outcome).inc()
