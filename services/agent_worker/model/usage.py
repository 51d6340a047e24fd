"""Pure: the tokens that a model reports, wherever its server puts them."""

import math
from collections.abc import Iterator
from typing import Any, Final

from shared.contracts.turns import Usage

MAX_COUNT: Final = 2**53
_PROMPT: Final = (
    "prompt_tokens",
    "input_tokens",
    "promptTokenCount",
    "inputTokenCount",
    "prompt_eval_count",
    "prompt_n",
)
_COMPLETION: Final = (
    "completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokenCount", "eval_count", "predicted_n",
)  # fmt: skip
_TOTAL: Final = ("total_tokens", "totalTokenCount")
_CACHED: Final = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cachedContentTokenCount")
_REASONING: Final = ("reasoning_tokens", "thoughtsTokenCount")
# Members of a chunk, or of its choice, that hold a report; the standard's first.
_HOLDERS: Final = ("usage", "x_groq", "usageMetadata", "amazon-bedrock-invocationMetrics", "timings")


def report_of(chunk: dict[str, Any], choice: dict[str, Any] | None = None) -> Usage | None:
    """The chunk's report; None where it has none, an empty one or one that cannot be believed."""
    for report in _reports(chunk, choice):
        usage = _usage(report)
        if usage is not None:
            return usage
    return None


def _reports(chunk: dict[str, Any], choice: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    for place in (chunk, choice or {}):
        for holder in _HOLDERS:
            found = place.get(holder)
            if isinstance(found, dict):
                inner = found.get("usage")
                yield inner if isinstance(inner, dict) else found
    if "prompt_eval_count" in chunk:
        yield chunk


def _usage(report: dict[str, Any]) -> Usage | None:
    """Two of the three numbers are enough.

    A report of zeros is what servers send in chunks that have nothing to report.
    """
    prompt, completion, total = _first(report, _PROMPT), _first(report, _COMPLETION), _first(report, _TOTAL)
    if prompt is None and total is not None and completion is not None:
        prompt = total - completion
    if completion is None and total is not None and prompt is not None:
        completion = total - prompt
    if prompt is None or completion is None or prompt < 0 or completion < 0 or not (prompt or completion):
        return None
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total or prompt + completion,
        cached_tokens=_detail(report, ("prompt_tokens_details", "input_tokens_details"), _CACHED),
        reasoning_tokens=_detail(report, ("completion_tokens_details", "output_tokens_details"), _REASONING),
    )


def _detail(report: dict[str, Any], holders: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    for holder in holders:
        details = report.get(holder)
        if isinstance(details, dict) and (count := _first(details, names)) is not None:
            return count
    return _first(report, names)


def _first(report: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(report.get(name))) is not None), None)


def _count(value: Any) -> int | None:
    """Floats count: servers behind a JavaScript proxy send them."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value < MAX_COUNT else None
