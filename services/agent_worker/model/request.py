"""Pure: the body of one model call, as one upstream takes it."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from services.agent_worker.model.faults import UpstreamError
from shared.contracts.companions import PARTS, companions_of, is_from

# Where a message holds `{"upstream", "members"}`, and each of its calls its own members, until the upstream is known.
COMPANIONS: Final = "parley_companions"
# A call without these would mean something else, so they are never left out.
_ESSENTIAL: Final = frozenset({"model", "messages", "stream", "tools", "tool_choice", "response_format"})
_RENAMED: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_UNKNOWN: Final = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|unexpected|extra[_ ]|not (?:supported|permitted|allowed|recogni[sz]ed)"
    r"|additional propert|does not support|no such (?:field|parameter)|cannot find field"
    r"|invalid (?:parameter|argument|field)",
    re.IGNORECASE,
)


def body_of(model: str, request: Mapping[str, Any], upstream: str, omitted: Collection[str]) -> dict[str, Any]:
    """The members of the call. `omitted` are those that this upstream does not know."""
    members = {"model": model, "stream": True, "stream_options": {"include_usage": True}, **request}
    members["messages"] = with_companions(request["messages"], upstream, omitted)
    for name in omitted:
        value = members.pop(name, None)
        other = _RENAMED.get(name)
        if value is not None and other is not None and other not in omitted:
            # The limit of an answer's length has two names, and every server knows one of them.
            members.setdefault(other, value)
    return members


def with_companions(messages: list[dict[str, Any]], upstream: str, omitted: Collection[str]) -> list[dict[str, Any]]:
    """The messages with their companions where those came from this upstream, and without them where not."""
    if not any(COMPANIONS in message for message in messages):
        return messages
    return [_completed(message, upstream, omitted) if COMPANIONS in message else message for message in messages]


def _completed(message: dict[str, Any], upstream: str, omitted: Collection[str]) -> dict[str, Any]:
    plain = {name: value for name, value in message.items() if name != COMPANIONS}
    kept = message[COMPANIONS]
    is_ours = is_from(kept["upstream"], upstream)
    members = _without(companions_of(kept.get("members")), omitted) if is_ours else {}
    if (parts := members.pop(PARTS, None)) and isinstance(parts, list):
        text = plain.get("content")
        plain["content"] = [*parts, {"type": "text", "text": text}] if text else parts
    plain["tool_calls"] = [_completed_call(call, omitted, is_ours=is_ours) for call in plain.get("tool_calls") or ()]
    return members | plain


def _completed_call(call: dict[str, Any], omitted: Collection[str], *, is_ours: bool) -> dict[str, Any]:
    plain = {name: value for name, value in call.items() if name != COMPANIONS}
    return _without(companions_of(call.get(COMPANIONS)), omitted) | plain if is_ours else plain


def _without(members: dict[str, Any], omitted: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in omitted}


def unknown_member(error: UpstreamError, body: Mapping[str, Any]) -> str | None:
    """The member of the body that a refusal names as unknown, if the call makes sense without it."""
    if error.status not in (400, 422) or not (error.message or error.param or error.body):
        return None
    text = " ".join((error.code, error.type, error.message, _as_text(error.body)))
    if not _UNKNOWN.search(text) or "unsupported_value" in text.lower() or "unsupported value" in text.lower():
        return None
    candidates = [name for name in body if name not in _ESSENTIAL] + sorted(_companions_in(body))
    named = [name for name in candidates if _names(name, error, text)]
    # The longest: `max_tokens` may stand inside the name of another.
    return max(named, key=len, default=None)


def _names(name: str, error: UpstreamError, text: str) -> bool:
    if error.param.split(".")[0] == name:
        return True
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text) is not None


def _companions_in(body: Mapping[str, Any]) -> set[str]:
    """Members of messages and calls that not every server of a family knows."""
    known = {"role", "content", "tool_calls", "tool_call_id", "id", "type", "function", "index"}
    found: set[str] = set()
    for message in body["messages"]:
        found.update(message)
        for call in message.get("tool_calls") or ():
            found.update(call)
    return found - known


def _as_text(body: Any) -> str:
    """pydantic's errors name the member in a list: `{"detail": [{"loc": ["body", "stream_options"], …}]}`."""
    try:
        return orjson.dumps(body).decode() if isinstance(body, dict | list) else ""
    except TypeError:
        return ""
