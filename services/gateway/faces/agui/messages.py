"""Pure: stored turns as AG-UI's messages. A run ends with the client having exactly these."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.gateway.faces.agui.ids import call_id, callers_call_id, message_id, result_id
from services.gateway.faces.call_ids import CallIds
from shared.contracts.turns import ENDED, StoredTurn

Message = dict[str, Any]


def answer_messages(turn_id: str, messages: Iterable[Mapping[str, Any]], finish_reason: str | None) -> list[Message]:
    """`messages`: what the turn has said and what its tools have answered, as the API shows it."""
    given = [message for message in messages if message["role"] == "tool" or _says(message)]
    last = len(given) - 1 if finish_reason == "tool_calls" else None
    ids, shown, number = CallIds(), list[Message](), 0
    for index, message in enumerate(given):
        if message["role"] == "tool":
            call = call_id(turn_id, ids.of(message.get("toolCallId") or ""))
            shown.append(_result(call, message))
            continue
        calls = [
            (callers_call_id(turn_id, each["id"]) if index == last else call_id(turn_id, ids.opened(each["id"])), each)
            for each in message.get("toolCalls") or ()
        ]
        shown.append(_assistant(message_id(turn_id, number), message.get("content") or "", calls))
        number += 1
    return shown


def _says(message: Mapping[str, Any]) -> bool:
    return message["role"] == "assistant" and bool(message.get("content") or message.get("toolCalls"))


def _result(call: str, message: Mapping[str, Any]) -> Message:
    return {"id": result_id(call), "role": "tool", "toolCallId": call, "content": message.get("content") or ""}


def _assistant(name: str, text: str, calls: list[tuple[str, Mapping[str, Any]]]) -> Message:
    shown: Message = {"id": name, "role": "assistant", "content": text}
    if calls:
        shown["toolCalls"] = [
            {"id": call, "type": "function", "function": {"name": each["name"], "arguments": each["arguments"]}}
            for call, each in calls
        ]
    return shown


def thread_messages(turns: Iterable[StoredTurn]) -> list[Message]:
    shown, open_calls = list[Message](), dict[str, str]()
    for stored in turns:
        for said in stored.input:
            head = {"id": said.client_id or said.id, "role": said.role, "content": said.content or ""}
            if said.role == "tool":
                head["toolCallId"] = open_calls.get(said.tool_call_id or "", said.tool_call_id or "")
            if said.role in ("user", "tool"):
                shown.append(head)
        if stored.turn.status not in ENDED:
            continue
        turn = stored.turn
        public = [message.public(turn.session_id, turn.id) for message in stored.output]
        shown += answer_messages(turn.id, public, turn.finish_reason)
        if turn.finish_reason == "tool_calls" and public:
            open_calls = {
                each["id"]: callers_call_id(turn.id, each["id"]) for each in public[-1].get("toolCalls") or ()
            }
    return shown
