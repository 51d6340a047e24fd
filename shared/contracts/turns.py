"""A turn on its way: admitted by the gateway, claimed and finished by a worker, kept by history."""

from typing import Any, Final, Literal

from pydantic import Field

from shared.contracts.agents import AgentVersion
from shared.contracts.feedback import GivenFeedback
from shared.contracts.gaps import GapReason
from shared.contracts.guardrails import CheckedInput, GuardrailAct
from shared.contracts.schema import Schema, Time
from shared.contracts.sessions import EndUser, Message, TurnMessage

TurnStatus = Literal["queued", "running", "completed", "cancelled", "failed"]
# A turn with one of these never changes again.
ENDED: Final = frozenset[TurnStatus]({"completed", "cancelled", "failed"})
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled"]


class Usage(Schema):
    """Tokens, summed over the model calls of the turn. `estimated` where a model reported none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool | None = None


class ModelUse(Schema):
    """The tokens of a turn's calls of one model. Reported and estimated ones are two entries."""

    upstream: str
    model: str
    usage: Usage


class Timing(Schema):
    queued_ms: int = 0
    first_token_ms: int | None = None
    total_ms: int = 0


class Turn(Schema):
    """A turn as the public API shows it.

    `error` is a problem document. `reasoning`: its stream has `reasoning` frames.
    """

    id: str
    session_id: str | None = None
    status: TurnStatus
    attempt: int = 0
    agent_id: str
    agent_version: int
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timing: Timing | None = None
    error: dict[str, Any] | None = None
    reasoning: bool | None = None
    parent: str | None = Field(
        default=None, description="the turn that this one follows, where it began a branch of its session"
    )
    guardrails: tuple[GuardrailAct, ...] | None = Field(default=None, description="the guardrails that acted")
    request_id: str | None = Field(
        default=None, description="`x-request-id` of the answer to the request that asked for the turn"
    )
    trace_id: str | None = Field(default=None, description="the turn's trace, where the operator has traces on")
    created_at: Time
    ended_at: Time | None = None


class CallerTool(Schema):
    """A function that the caller of a completion offers; the caller runs it.

    `function` is OpenAI's object, passed through.
    """

    function: dict[str, Any]


class CompletionRequest(Schema):
    """What the caller of a completion or of a response adds to the agent: parameters, tools, whether to store it.

    Members have OpenAI's names. `end_user` comes from `user` or `safety_identifier`. Only a response has
    `instructions`, which no later turn sees, `background`, and `previous`: the id of the turn that it names as the one
    before it.
    """

    parameters: dict[str, Any] = Field(default_factory=dict)
    tools: tuple[CallerTool, ...] = ()
    tool_choice: Any = None
    store: bool = False
    metadata: dict[str, str] = Field(default_factory=dict)
    end_user: EndUser | None = None
    is_response: bool = False
    instructions: str | None = None
    background: bool = False
    previous: str | None = None

    def asked(self) -> dict[str, Any]:
        """For a digest of the question: who asks is not part of it.

        Members that came after the first release are in it only where they say something. During an upgrade gateways of
        two releases serve one request's repeats, and must agree about them.
        """
        own = self.model_copy(update={"end_user": None})
        known = {"parameters", "tools", "tool_choice", "store", "metadata"}
        first = own.model_dump(mode="json", by_alias=True, exclude_none=True, include=known)
        return {**own.model_dump(mode="json", by_alias=True, exclude_defaults=True), **first}


class TurnLimits(Schema):
    """How many turns of the order's key, and of its end user, may be active at once. None: no limit."""

    key: int | None = None
    end_user: int | None = None


class AdmitTurn(Schema):
    """An order to accept a turn. Without `session_id` it is a completion.

    `agent_id` is what a completion names as its `model`: an id or a slug, with `@n` for a version. `messages` are the
    caller's, in order. A repeated `idempotency_key` must bring the same `body_digest`.
    `retry_key` is the same for equal completions of one key. `is_retry`: the client says that it repeats a request, so
    it gets the turn of that retry key that runs or has just ended. If the retry arrives before the original, the
    original gets the retry's turn. `called_again`: a history that was lost may have begun with the same order.

    A turn of a session follows the session's last one. `parent`: it follows this turn of the session instead.
    `instead_of`: it follows whatever this turn of the session follows. Either begins a branch, which is the session's
    active one from then on: transcripts and prompts leave out what is not on it.

    `reasoning`: the worker writes the model's reasoning into the run log, for readers who ask for it.
    `key_id`: the key of the request; None for a turn that no key asked for. `weight`: the key's share of the workers
    when turns wait. `request_id` and `traceparent`: the public request, and the span of its trace.
    """

    turn_id: str
    key_id: str | None = None
    weight: int = 1
    limits: TurnLimits | None = None
    session_id: str | None = None
    parent: str | None = None
    instead_of: str | None = None
    agent_id: str | None = None
    messages: tuple[TurnMessage, ...]
    metadata: dict[str, str] = Field(default_factory=dict)
    idempotency_key: str | None = None
    body_digest: str
    retry_key: str | None = None
    is_retry: bool = False
    called_again: bool = False
    completion: CompletionRequest | None = None
    reasoning: bool = False
    request_id: str | None = None
    traceparent: str | None = None


class AdmittedTurn(Schema):
    """The accepted turn. `created` False: the idempotency key or the retry key named an earlier turn.

    `output` are that turn's messages once it has ended. `snapshot` is the answer to the turn's first claim (a
    ClaimedTurn as JSON, without the agent); the queue passes it on. None: it is too long or could not be built, so the
    worker claims the turn from history.
    """

    created: bool
    turn: Turn
    user_message_id: str
    output: tuple[TurnMessage, ...] = ()
    snapshot: str | None = None


class StoredTurn(Schema):
    """A turn with its messages. `last_seq` is the terminal frame's, once it has ended.

    `number` is the turn's place in its session, from 1; 0 for a completion. `gap`: why the turn counts as a gap of its
    agent's knowledge. `feedback`: what was last said about its answer.
    """

    turn: Turn
    number: int = 0
    input: tuple[TurnMessage, ...] = ()
    output: tuple[TurnMessage, ...] = ()
    last_seq: int = 0
    completion: CompletionRequest | None = None
    erased: bool = False
    gap: GapReason | None = None
    feedback: GivenFeedback | None = None


class ClaimTurn(Schema):
    """`claim_id` is unique per claim and is the value of the lease.

    `knows_agent`: the worker has the version cached.
    """

    claim_id: str
    knows_agent: bool = False


class StartAttempt(Schema):
    """An order to start the claim's attempt.

    Until history has answered, the worker may call a model but must show nothing of it. `session_id` and `admitted_at`
    come from the claim or the snapshot, and save history two reads.
    """

    claim_id: str
    session_id: str | None = None
    admitted_at: Time | None = None
    attempt: int = Field(ge=1)


class StartedAttempt(Schema):
    """`started` False: the turn belongs to another claim, or has ended. `remaining_s`: until the turn's deadline."""

    started: bool
    cancel_requested: bool = False
    waited_ms: int = 0
    remaining_s: float = 0.0


class ClaimedTurn(Schema):
    """What a worker needs to run a turn, in one answer. `run` False: nothing to do (terminal, or no try left).

    `attempt` is the number of the claim's attempt, which counts only after it was started. `context` are the messages
    of earlier turns, oldest first. `started_calls` are the idempotency keys of never-retry tool calls that earlier
    attempts started. `variables` are the values of the agent's `{{variables}}`. Only a snapshot has `admitted_at`.
    `check`: the turn belongs to a run of checks, and counts in no statistics.
    """

    run: bool
    attempt: int = 0
    admitted_at: Time | None = None
    agent_id: str = ""
    agent_version: int = 0
    agent: AgentVersion | None = None
    session_id: str | None = None
    context: tuple[Message, ...] = ()
    input: tuple[TurnMessage, ...] = ()
    completion: CompletionRequest | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    reasoning: bool = False
    started_calls: tuple[str, ...] = ()
    check: bool = False


class FinishedTurn(Schema):
    """The fact `turn.finished` in the outbox: one attempt's result. The terminal frame's seq is `last_seq` + 1.

    `checked_input` None: the agent has no input guardrails, or they came to no end. `collected` are forms for the
    session to keep, by the names of the tools that filled them in. `end_session`: the agent has ended the session with
    this turn. `uses` are the tokens by model: `usage` is their sum. `traceparent`: the attempt's span.
    """

    workspace: str
    turn_id: str
    attempt: int
    status: Literal["completed", "cancelled", "failed"]
    finish_reason: FinishReason | None = None
    output: tuple[TurnMessage, ...] = ()
    usage: Usage | None = None
    uses: tuple[ModelUse, ...] = ()
    timing: Timing | None = None
    error: dict[str, Any] | None = None
    last_seq: int = 0
    ended_at: Time
    guardrails: tuple[GuardrailAct, ...] | None = None
    checked_input: CheckedInput | None = None
    collected: dict[str, dict[str, Any]] = Field(default_factory=dict)
    end_session: bool = False
    traceparent: str | None = None

    def guarded(self) -> dict[str, Any]:
        """The members about guardrails as the turn's document has them; none for an agent without guardrails."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, include={"guardrails", "checked_input"})


def terminal_frame(turn: Turn, output: tuple[TurnMessage, ...]) -> tuple[str, dict[str, Any]]:
    """The event and the data of the frame that ends a stored turn's stream.

    Pure, so that every telling of it is the same.
    """
    traced = {} if turn.trace_id is None else {"traceId": turn.trace_id}
    if turn.status == "failed":
        return "error", {"turnId": turn.id, **(turn.error or {}), **traced}
    data = {
        "turnId": turn.id,
        "status": turn.status,
        "finishReason": turn.finish_reason,
        "messages": [message.public(turn.session_id, turn.id) for message in output],
        "usage": turn.usage.wire() if turn.usage else None,
        "timing": turn.timing.wire() if turn.timing else None,
        **traced,
    }
    return "done", data
