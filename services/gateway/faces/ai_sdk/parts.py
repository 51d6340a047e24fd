"""Pure: stored turns as the AI SDK's UI messages. A stream ends with the client having exactly these parts."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from services.gateway.faces.call_ids import CallIds
from services.gateway.faces.citations import cited_passages
from shared.contracts.turns import ENDED, StoredTurn, Turn

Part = dict[str, Any]
STEP_START: Final[Part] = {"type": "step-start"}
# The AI SDK's words for how an answer ended.
_FINISH: Final = {"content_filter": "content-filter", "tool_calls": "tool-calls"}


def call_input(arguments: str) -> Any:
    """The arguments of a call as a value, or as the text that a model wrote in place of JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def tool_part(call_id: str, name: str, arguments: str) -> Part:
    """A call that waits for its result. The server runs it: a client must not try to."""
    return {
        "type": "dynamic-tool",
        "toolName": name,
        "toolCallId": call_id,
        "state": "input-available",
        "input": call_input(arguments),
        "providerExecuted": True,
    }


def answer_parts(messages: Iterable[dict[str, Any]]) -> list[Part]:
    """`messages`: what a turn has said and what its tools have answered, as the API shows it."""
    parts, calls, ids, shown = [STEP_START], dict[str, Part](), CallIds(), list(messages)
    for message in shown:
        if message["role"] == "tool":
            if (part := calls.get(ids.of(message.get("toolCallId") or ""))) is not None:
                part |= tool_result(message.get("content") or "", failed=bool(message.get("failed")))
            continue
        if text := message.get("content"):
            parts.append({"type": "text", "text": text, "state": "done"})
        for call in message.get("toolCalls") or ():
            call_id = ids.opened(call["id"])
            calls[call_id] = tool_part(call_id, call["name"], call["arguments"])
            parts.append(calls[call_id])
    return [*parts, *source_parts(shown)]


def tool_result(text: str, *, failed: bool) -> Part:
    return {"state": "output-error", "errorText": text} if failed else {"state": "output-available", "output": text}


def source_parts(messages: Sequence[dict[str, Any]]) -> list[Part]:
    """The passages that the answer names, each once."""
    parts = list[Part]()
    for passage in cited_passages(messages):
        title = " > ".join(name for name in (passage["title"], passage.get("heading")) if name)
        if passage.get("url"):
            parts.append({"type": "source-url", "sourceId": passage["id"], "url": passage["url"], "title": title})
        else:
            document = {"type": "source-document", "sourceId": passage["id"], "mediaType": "text/plain"}
            parts.append({**document, "title": title})
    return parts


def start_metadata(turn: Turn) -> dict[str, Any]:
    return {"turnId": turn.id, "sessionId": turn.session_id, "agentVersion": turn.agent_version}


def end_metadata(data: dict[str, Any]) -> dict[str, Any]:
    """What the end of a turn adds. `data` is that of its terminal frame."""
    if "code" in data:
        return {"status": "failed", "error": {"code": data["code"], "retryable": bool(data.get("retryable"))}}
    added = {"status": data["status"], "finishReason": finish_reason(data), "usage": data.get("usage")}
    if citations := [each for message in data["messages"] for each in message.get("citations") or ()]:
        added["citations"] = citations
    return {name: value for name, value in added.items() if value is not None}


def finish_reason(data: dict[str, Any]) -> str | None:
    """None for a turn that was cancelled."""
    reason = data.get("finishReason") or "other"
    return None if reason == "cancelled" else _FINISH.get(reason, reason)


def ui_messages(stored: StoredTurn) -> list[dict[str, Any]]:
    """The user's message and, once the turn has ended, its answer."""
    turn, messages = stored.turn, list[dict[str, Any]]()
    for message in stored.input:
        if message.role == "user" and message.content:
            part = {"type": "text", "text": message.content}
            messages.append({"id": message.client_id or message.id, "role": "user", "parts": [part]})
    if turn.status in ENDED and (stored.output or turn.status != "failed"):
        public = [message.public(turn.session_id, turn.id) for message in stored.output]
        ended = {"status": turn.status, "finishReason": turn.finish_reason, "messages": public}
        usage = turn.usage.wire() if turn.usage else None
        data = {**(turn.error or {}), "messages": public} if turn.status == "failed" else {**ended, "usage": usage}
        metadata = start_metadata(turn) | end_metadata(data)
        messages.append({"id": turn.id, "role": "assistant", "metadata": metadata, "parts": answer_parts(public)})
    return messages
