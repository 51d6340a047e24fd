"""Whether a step's turn is what its author expects. Pure: it knows the stored turn and nothing else."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import orjson

from shared.contracts.checks import CheckStep, Expectation, ExpectedCall, ExpectedPassage, Failure, StepResult
from shared.contracts.sessions import RetrievedPassage, TurnMessage
from shared.contracts.turns import StoredTurn
from shared.patterns import BadPattern, is_match

MAX_ANSWER: Final = 4000
MAX_SHOWN: Final = 300


class Passage(NamedTuple):
    source_id: str
    title: str
    text: str


class Answered(NamedTuple):
    """What expectations look at: the whole answer of a turn, its calls, and its passages."""

    text: str
    calls: tuple[tuple[str, Any], ...]
    retrieved: tuple[Passage, ...]
    cited: tuple[Passage, ...]
    finish_reason: str | None
    guardrails: tuple[str, ...]
    latency_ms: int
    tokens: int


def answered(stored: StoredTurn) -> Answered:
    messages, turn = stored.output, stored.turn
    retrieved = [
        passage for message in messages for retrieval in message.knowledge or () for passage in retrieval.passages
    ]
    return Answered(
        text="\n".join(message.content for message in messages if message.role == "assistant" and message.content),
        calls=tuple((call.name, _parsed(call.arguments)) for message in messages for call in message.tool_calls or ()),
        retrieved=tuple(Passage(passage.source_id, passage.title, passage.text) for passage in retrieved),
        cited=tuple(_cited(messages, retrieved)),
        finish_reason=turn.finish_reason,
        guardrails=tuple(act.name for act in turn.guardrails or ()),
        latency_ms=turn.timing.total_ms if turn.timing else 0,
        tokens=turn.usage.total_tokens if turn.usage else 0,
    )


def step_result(stored: StoredTurn) -> StepResult:
    """What a run keeps of the turn, for whoever asks why a check failed."""
    found = answered(stored)
    return StepResult(
        turn_id=stored.turn.id,
        answer=found.text[:MAX_ANSWER],
        tool_calls=tuple(name for name, _ in found.calls),
        latency_ms=found.latency_ms,
        tokens=found.tokens,
    )


def failures_of(step: CheckStep, number: int, stored: StoredTurn) -> tuple[Failure, ...]:
    """Every expectation that does not hold. Rubrics are left out: a judge's turn answers them."""
    if stored.turn.status != "completed":
        return (Failure(step=number, message=_unfinished(stored)),)
    found = answered(stored)
    failures = []
    for expectation in step.expect:
        message = _EVALUATE[expectation.kind](expectation, found) if expectation.rubric is None else None
        if message is not None:
            failures.append(Failure(step=number, expectation=expectation.kind, message=message))
    return tuple(failures)


def _unfinished(stored: StoredTurn) -> str:
    if stored.turn.status == "cancelled":
        return "The turn was cancelled."
    error = stored.turn.error or {}
    return f"The turn failed with {error.get('code', 'internal_error')}: {error.get('detail', 'no reason was given')}"


def _contains(expectation: Expectation, found: Answered) -> str | None:
    wanted = expectation.contains or ""
    return None if wanted.casefold() in found.text.casefold() else f"The answer does not contain {_shown(wanted)}."


def _lacks(expectation: Expectation, found: Answered) -> str | None:
    unwanted = expectation.does_not_contain or ""
    return f"The answer contains {_shown(unwanted)}." if unwanted.casefold() in found.text.casefold() else None


def _matches(expectation: Expectation, found: Answered) -> str | None:
    pattern = expectation.matches or ""
    try:
        return None if is_match(pattern, found.text) else f"The answer does not match {_shown(pattern)}."
    except BadPattern as error:
        return f"The pattern {_shown(pattern)} cannot be used: {error}"


def _called(expectation: Expectation, found: Answered) -> str | None:
    wanted = expectation.tool_called or ExpectedCall(name="?")
    made = [arguments for name, arguments in found.calls if name == wanted.name]
    if any(is_part(wanted.arguments, arguments) for arguments in made):
        return None
    if not made:
        return f"{wanted.name} was not called."
    return f"{wanted.name} was called with {_shown(made[-1])}, which does not contain {_shown(wanted.arguments)}."


def _not_called(expectation: Expectation, found: Answered) -> str | None:
    unwanted = expectation.tool_not_called
    return f"{unwanted} was called." if any(name == unwanted for name, _ in found.calls) else None


def _retrieved(expectation: Expectation, found: Answered) -> str | None:
    return _among(expectation.passage_retrieved, found.retrieved, "retrieved")


def _was_cited(expectation: Expectation, found: Answered) -> str | None:
    return _among(expectation.passage_cited, found.cited, "cited")


def _finished(expectation: Expectation, found: Answered) -> str | None:
    if found.finish_reason == expectation.finish_reason:
        return None
    return f"The finish reason is {found.finish_reason}, not {expectation.finish_reason}."


def _guarded(expectation: Expectation, found: Answered) -> str | None:
    wanted = expectation.guardrail_acted
    acted = ", ".join(found.guardrails) or "none"
    return None if wanted in found.guardrails else f"The guardrail {wanted} did not act. These did: {acted}."


def _not_guarded(expectation: Expectation, found: Answered) -> str | None:
    unwanted = expectation.guardrail_not_acted
    return f"The guardrail {unwanted} acted." if unwanted in found.guardrails else None


def _fast(expectation: Expectation, found: Answered) -> str | None:
    limit = expectation.max_latency_ms or 0
    return f"The turn took {found.latency_ms} ms; at most {limit} are allowed." if found.latency_ms > limit else None


def _cheap(expectation: Expectation, found: Answered) -> str | None:
    limit = expectation.max_tokens or 0
    return f"The turn used {found.tokens} tokens; at most {limit} are allowed." if found.tokens > limit else None


_EVALUATE: Final[dict[str, Callable[[Expectation, Answered], str | None]]] = {
    "contains": _contains,
    "doesNotContain": _lacks,
    "matches": _matches,
    "toolCalled": _called,
    "toolNotCalled": _not_called,
    "passageRetrieved": _retrieved,
    "passageCited": _was_cited,
    "finishReason": _finished,
    "guardrailActed": _guarded,
    "guardrailNotActed": _not_guarded,
    "maxLatencyMs": _fast,
    "maxTokens": _cheap,
}


def is_part(wanted: Any, given: Any) -> bool:
    """Whether `given` has everything that is in `wanted`. Objects may have further members; lists may not."""
    if isinstance(wanted, dict):
        return isinstance(given, dict) and all(name in given and is_part(wanted[name], given[name]) for name in wanted)
    if isinstance(wanted, list):
        same = isinstance(given, list) and len(wanted) == len(given)
        return same and all(is_part(one, other) for one, other in zip(wanted, given, strict=True))
    if isinstance(wanted, bool) or isinstance(given, bool):  # For Python, True is 1.
        return wanted is given
    return bool(wanted == given)


def _among(wanted: ExpectedPassage | None, passages: tuple[Passage, ...], what: str) -> str | None:
    if wanted is None or any(_is_passage(wanted, passage) for passage in passages):
        return None
    titles = _shown(list(dict.fromkeys(passage.title for passage in passages))) if passages else "none"
    return f"No passage with {_shown(wanted.wire())} was {what}. These were: {titles}"


def _is_passage(wanted: ExpectedPassage, passage: Passage) -> bool:
    return (
        (wanted.source_id is None or wanted.source_id == passage.source_id)
        and (wanted.title is None or wanted.title.casefold() in passage.title.casefold())
        and (wanted.contains is None or wanted.contains.casefold() in passage.text.casefold())
    )


def _cited(messages: Iterable[TurnMessage], retrieved: Iterable[RetrievedPassage]) -> Iterator[Passage]:
    """A citation names its passage without the text, which the turn's retrievals have."""
    texts = {passage.marker: passage.text for passage in retrieved if passage.marker is not None}
    for message in messages:
        for citation in message.citations or ():
            passage = citation.passage
            yield Passage(passage.source_id, passage.title, texts.get(citation.marker, ""))


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def _shown(value: Any) -> str:
    """A value in an author's message, cut where it gets long."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
