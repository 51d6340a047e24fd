"""The turn document: what history stores of a turn, how it is read, and which parts of it a query fetches."""

from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from pydantic import Field

from services.history.mongo.filters import Document
from shared.contracts.agents import AgentVersion
from shared.contracts.feedback import GivenFeedback
from shared.contracts.gaps import GapReason
from shared.contracts.guardrails import GuardrailAct
from shared.contracts.jobs import RunTurn, checks_flow, enqueued_ms, flow_of
from shared.contracts.schema import Schema, rfc3339
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import (
    ClaimedTurn,
    CompletionRequest,
    FinishReason,
    StoredTurn,
    Timing,
    Turn,
    TurnStatus,
    Usage,
)
from shared.tracing.traceparent import trace_id_of

# All but the texts: status, fences and times.
_TEXTS: Final = dict.fromkeys(("output", "completion", "variables", "metadata", "words", "checkedInput"), 0)
WITHOUT_TEXT: Final = {"input": 0, **_TEXTS}
# The same, with the messages that the turn answers.
WITHOUT_ANSWER: Final = _TEXTS
# WITHOUT_TEXT, with the ids and roles of the messages that the turn answers.
OUTLINE: Final = {"input.content": 0, **_TEXTS}
# Everything that is shown. The words of the search repeat the texts.
SHOWN: Final = {"words": 0}
# What is kept of a turn whose content is erased, so that usage stays exact: what it cost, not what was said or by whom.
# `usageOnly` marks such a document, which is a turn to nobody any more. A new member of the turn is erased with it
# unless it is named here.
KEPT_OF_ERASED: Final = (
    "workspace",
    "agentId",
    "agentVersion",
    "keyId",
    "status",
    "active",
    "check",
    "usage",
    "createdAt",
    "endedAt",
)
USAGE_ONLY: Final = "usageOnly"
# The scope of a completion's idempotency key; a session's is its id.
COMPLETIONS: Final = "completions"


class TurnRecord(Schema):
    """A document of the collection `turns`; its members have the same names there, in camelCase.

    `attempt` is the fence: it only grows, and each write of a worker names its own attempt. `tries` counts the attempts
    that count towards the limit. `claim_id` is the claim that raised the attempt last. `completion` is JSON text,
    because it has member names that MongoDB does not accept. `weight` is the weight that the key `key_id` had at
    admission. `unbilled`: the usage ledger does not have it yet. `spent` is what attempts that may not end
    the turn have used, by their numbers. `labels` are a stored completion's current metadata,
    each pair as JSON text, so that an index finds it. `places` are the limits' sets in Redis that count the turn.
    `hidden` are the numbers of the turns before this one that are not on its branch (see `branches.py`).
    `check` is the run of checks that the turn belongs to. `joined`, `orphan`, `replaces`, `withdrawing` and
    `called_again` belong to the retry guard.
    """

    id: str = Field(alias="_id")
    workspace: str
    key_id: str | None = None
    places: tuple[str, ...] = ()
    session_id: str | None = None
    n: int = 0
    status: TurnStatus
    active: bool
    attempt: int = 0
    tries: int = 0
    claim_id: str | None = None
    agent_id: str
    agent_version: int
    weight: int = 1
    end_user_id: str | None = None
    idempotency_key: str | None = None
    retry_key: str | None = None
    orphan: str | None = None
    replaces: str | None = None
    withdrawing: bool = False
    called_again: bool = False
    body_digest: str = ""
    cancel_requested: bool = False
    started_calls: tuple[str, ...] = ()
    input: tuple[TurnMessage, ...] = ()
    output: tuple[TurnMessage, ...] = ()
    completion: str | None = None
    variables: str | None = None
    reasoning: bool = False
    store: bool = False
    labels: tuple[str, ...] | None = None
    parent: str | None = None
    hidden: tuple[tuple[int, int], ...] = ()
    check: str | None = None
    gap_reason: GapReason | None = None
    feedback: GivenFeedback | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    spent: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)
    unbilled: bool = False
    timing: Timing | None = None
    error: dict[str, Any] | None = None
    guardrails: tuple[GuardrailAct, ...] | None = None
    last_seq: int = 0
    request_id: str | None = None
    traceparent: str | None = None
    erased: bool = False
    created_at: datetime
    first_claim_at: datetime | None = None
    ended_at: datetime | None = None

    def turn(self) -> Turn:
        """The turn as the public API shows it."""
        return Turn(
            id=self.id,
            session_id=self.session_id,
            status=self.status,
            attempt=self.attempt,
            agent_id=self.agent_id,
            agent_version=self.agent_version,
            finish_reason=self.finish_reason,
            usage=self.usage,
            timing=self.timing,
            error=self.error,
            reasoning=self.reasoning or None,
            parent=self.parent,
            guardrails=self.guardrails,
            request_id=self.request_id,
            trace_id=trace_id_of(self.traceparent or ""),
            created_at=self.created_at,
            ended_at=self.ended_at,
        )

    def job(self) -> RunTurn:
        """The order to run it."""
        return RunTurn(
            self.workspace,
            self.id,
            self.agent_id,
            self.agent_version,
            flow=flow_of(self.workspace, self.key_id) if self.check is None else checks_flow(self.workspace),
            weight=self.weight,
            enqueued_at=enqueued_ms(self.created_at),
            request_id=self.request_id or "",
            traceparent=self.traceparent or "",
        )

    def request(self) -> CompletionRequest | None:
        if self.completion is None:
            return None
        request = CompletionRequest.model_validate(orjson.loads(self.completion))
        if self.labels is None:
            return request
        return request.model_copy(update={"metadata": dict(orjson.loads(label) for label in self.labels)})

    def snapshot(self, context: bytes) -> Document:
        """The answer to the turn's first claim. `context` is a JSON list."""
        return {**self.claimed(1, context), "admittedAt": rfc3339(self.created_at)}

    def claimed(self, attempt: int, context: bytes, agent: AgentVersion | None = None) -> Document:
        """A ClaimedTurn as it goes over the wire. `context` is a JSON list."""
        claimed = ClaimedTurn(
            run=True,
            attempt=attempt,
            agent_id=self.agent_id,
            agent_version=self.agent_version,
            agent=agent,
            session_id=self.session_id,
            input=self.input,
            completion=self.request(),
            variables=orjson.loads(self.variables) if self.variables else {},
            reasoning=self.reasoning,
            started_calls=self.started_calls,
            check=self.check is not None,
        )
        return {**claimed.wire(), "context": orjson.Fragment(context)}

    def stored(self) -> StoredTurn:
        return StoredTurn(
            turn=self.turn(),
            number=self.n,
            input=self.input,
            output=self.output,
            last_seq=self.last_seq,
            completion=self.request(),
            erased=self.erased,
            gap=self.gap_reason,
            feedback=self.feedback,
        )

    @property
    def user_message_id(self) -> str:
        """The id of the message that the turn answers."""
        if not self.input:
            return ""
        return next((message.id for message in reversed(self.input) if message.role == "user"), self.input[-1].id)


def labels_of(metadata: dict[str, str]) -> list[str]:
    """Metadata in the form in which an index finds its pairs."""
    return [orjson.dumps(pair).decode() for pair in metadata.items()]


def releases_key(error: dict[str, Any] | None) -> bool:
    """Whether a failed turn may be repeated under the same idempotency key: its error is retryable."""
    return error is not None and bool(error.get("retryable"))


def milliseconds(span: timedelta) -> int:
    """At least 0: two machines' clocks may differ."""
    return max(0, int(span.total_seconds() * 1000))


def record_of(row: Document | None) -> TurnRecord | None:
    return TurnRecord.model_validate(row) if row is not None else None
