"""Pure: a turn's result in OpenAI's shapes: `chat.completion`, its messages, its usage."""

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.completions.companions import call_companions, message_companions
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import Turn

# OpenAI has no word for a cancelled turn: it ends like one that stopped.
_FINISH: Final = {"cancelled": "stop", None: "stop"}


def completion_id(turn_id: str) -> str:
    return "chatcmpl-" + turn_id.removeprefix("trn_")


def turn_id_of(completion: str) -> str:
    """The turn of a completion's id; an empty string when `completion` is not such an id."""
    return "trn_" + completion.removeprefix("chatcmpl-") if completion.startswith("chatcmpl-") else ""


def usage_shape(usage: dict[str, Any] | None) -> dict[str, Any]:
    """Always a whole usage object, because some clients fail on parts of one.

    `estimated` is Parley's own member, where the model reported no usage.
    """
    usage = usage or {}
    shape: dict[str, Any] = {
        "prompt_tokens": usage.get("promptTokens", 0),
        "completion_tokens": usage.get("completionTokens", 0),
        "total_tokens": usage.get("totalTokens", 0),
        "prompt_tokens_details": {"cached_tokens": usage.get("cachedTokens") or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoningTokens") or 0},
    }
    return shape | {"estimated": True} if usage.get("estimated") else shape


def finish_reason(reason: str | None) -> str:
    return _FINISH.get(reason) or str(reason)


def answer_text(messages: Sequence[dict[str, Any]]) -> str:
    """What was streamed: the text of all of the turn's model calls."""
    return "".join(message.get("content") or "" for message in messages if message["role"] == "assistant")


def annotations_of(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The citations of what was streamed, with their places in it. A passage without an address has an empty `url`."""
    annotations, before = list[dict[str, Any]](), 0
    for message in messages:
        if message["role"] != "assistant":
            continue
        annotations += [_url_citation(citation, before) for citation in message.get("citations") or ()]
        before += len(message.get("content") or "")
    return annotations


def _url_citation(citation: dict[str, Any], before: int) -> dict[str, Any]:
    """`before`: the characters in front of the message."""
    passage = citation["passage"]
    title = " > ".join(name for name in (passage["title"], passage.get("heading")) if name)
    place = {"start_index": before + citation["start"], "end_index": before + citation["end"]}
    return {"type": "url_citation", "url_citation": {**place, "url": passage.get("url") or "", "title": title}}


def caller_calls(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of the caller's tools that a turn ended with, each with the companions that its model wants back.

    The agent's own calls are never shown: clients would try to run them.
    """
    return [
        {
            **call_companions(call),
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in _calling_message(data).get("toolCalls") or ()
    ]


def caller_companions(data: dict[str, Any]) -> dict[str, Any]:
    """The opaque members of the message with those calls."""
    return message_companions(_calling_message(data))


def _calling_message(data: dict[str, Any]) -> dict[str, Any]:
    """The message that calls the caller's tools; empty where there is none."""
    if data.get("finishReason") != "tool_calls":
        return {}
    return next((message for message in reversed(data["messages"]) if message["role"] == "assistant"), {})


def completion_shape(turn: Turn, data: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion` from the data of a `done` frame."""
    text, calls = answer_text(data["messages"]), caller_calls(data)
    message: dict[str, Any] = {"role": "assistant", "content": None if calls and not text else text, "refusal": None}
    if annotations := annotations_of(data["messages"]):
        message["annotations"] = annotations
    if calls:
        message |= caller_companions(data) | {"tool_calls": calls}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(data.get("finishReason")),
    }
    return {
        "id": completion_id(turn.id),
        "object": "chat.completion",
        "created": int(turn.created_at.timestamp()),
        "model": turn.agent_id,
        "system_fingerprint": f"fp_{turn.agent_version}",
        "choices": [choice],
        "usage": usage_shape(data.get("usage")),
    }


def message_shape(completion: str, index: int, message: TurnMessage) -> dict[str, Any]:
    """One of a stored completion's messages."""
    shape: dict[str, Any] = {"id": f"{completion}-{index}", "role": message.role, "content": message.content}
    if message.name is not None:
        shape["name"] = message.name
    if annotations := annotations_of([message.wire()]):
        shape["annotations"] = annotations
    if message.tool_call_id is not None:
        shape["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        shape["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return shape
