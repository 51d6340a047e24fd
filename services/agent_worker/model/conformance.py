"""Pure: one chunk of any OpenAI-compatible server in a normal form. The table of what is tolerated is `quirks.py`."""

from typing import Any, Final, NamedTuple

from services.agent_worker.model.chunks import BadChunk
from services.agent_worker.model.faults import UpstreamError, error_in, fault_of, read_error
from services.agent_worker.model.finish_reasons import Finish, finish_of
from services.agent_worker.model.quirks import Quirk
from services.agent_worker.model.reasoning import reasoning_of
from services.agent_worker.model.usage import report_of
from shared.contracts.turns import Usage

# How servers number the one choice that was asked for.
_FIRST: Final = (None, 0, "0")


class ChunkParts(NamedTuple):
    """`calls` are entries as they came, for the `CallAssembler`. `delta` holds what the `CompanionCollector` keeps."""

    text: str = ""
    reasoning: str = ""
    calls: list[Any] | None = None
    finish: Finish | None = None
    usage: Usage | None = None
    delta: dict[str, Any] | None = None
    quirks: tuple[Quirk, ...] = ()


def parts_of(chunk: dict[str, Any]) -> ChunkParts:
    """Raises ModelFault on an error inside the answer, BadChunk on a shape that cannot be read."""
    if (error := error_in(chunk)) is not None:
        raise fault_of(error, "error inside the stream")
    choices = chunk.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise BadChunk("choices")
    choice = next((choice for choice in choices if choice.get("index") in _FIRST), None)
    if choice is None:
        quirks = (Quirk.OTHER_CHOICE,) if choices else ()
        return ChunkParts(usage=report_of(chunk), quirks=quirks)
    if choice.get("error"):
        raise fault_of(read_error(choice["error"]), "error inside the stream")
    return _parts_of_choice(chunk, choice)


def _parts_of_choice(chunk: dict[str, Any], choice: dict[str, Any]) -> ChunkParts:
    delta, quirks = _delta_of(choice)
    finish = finish_of(choice.get("finish_reason"))
    if finish is not None and finish.reason is None:
        raise fault_of(UpstreamError(code=str(choice["finish_reason"]).lower()), "the model ended with an error")
    calls = delta.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadChunk("tool_calls")
    if legacy := delta.get("function_call"):
        calls = [*calls, {"index": 0, "function": legacy}]
    if finish is not None and finish.quirk is not None:
        quirks = (*quirks, finish.quirk)
    return ChunkParts(
        # A refusal is what the user gets instead of an answer.
        text=_text_of(delta.get("content") or delta.get("refusal") or ""),
        reasoning=reasoning_of(delta),
        calls=calls or None,
        finish=finish,
        usage=report_of(chunk, choice),
        delta=delta,
        quirks=quirks,
    )


def _delta_of(choice: dict[str, Any]) -> tuple[dict[str, Any], tuple[Quirk, ...]]:
    """Whole completions, and some servers' streams, have `message` in place of `delta`; the oldest have `text`."""
    delta, quirks = choice.get("delta"), ()
    if not delta and (message := choice.get("message")):
        return _checked(message), (Quirk.MESSAGE_AS_DELTA,)
    if not delta and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}, (Quirk.MESSAGE_AS_DELTA,)
    return _checked(delta or {}), quirks


def _checked(delta: Any) -> dict[str, Any]:
    if not isinstance(delta, dict):
        raise BadChunk("delta")
    return delta


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        # Some servers stream parts as requests have them; reasoning among them is not for the user.
        return "".join(
            str(part.get("text") or "")
            for part in content
            if isinstance(part, dict) and part.get("type") in ("text", "output_text")
        )
    if not isinstance(content, str):
        raise BadChunk("content")
    return content
