"""Pure: tool calls and their results in a conversation, paired in place. Messages have OpenAI's shape."""

from collections.abc import Iterable
from typing import Any, Final

PromptMessage = dict[str, Any]

NO_RESULT: Final = "The call was not completed."


def paired(messages: Iterable[PromptMessage], *, unique: bool) -> list[PromptMessage]:
    """Every call is followed by its one result, in the order of the calls.

    A late result moves behind its call. A second result and a result without a call are dropped. A missing result is
    filled in.
    """
    blocks: list[list[PromptMessage]] = []
    open_results: dict[str, list[PromptMessage]] = {}
    taken: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if waiting := open_results.get(message.get("tool_call_id", "")):
                _fill(waiting.pop(0), message)
        elif calls := message.get("tool_calls"):
            if not unique:
                taken = set()
            sent, results = [], []
            own: dict[str, list[PromptMessage]] = {}
            for call in calls:
                call_id = _untaken(call["id"], taken)
                taken.add(call_id)
                result = {"role": "tool", "tool_call_id": call_id, "content": NO_RESULT}
                sent.append(call if call_id == call["id"] else {**call, "id": call_id})
                results.append(result)
                own.setdefault(call["id"], []).append(result)
            # An id that is used again belongs to the newest call from here on.
            open_results |= own
            blocks.append([{**message, "tool_calls": sent}, *results])
        else:
            blocks.append([message])
    return [message for block in blocks for message in block]


def _fill(result: PromptMessage, message: PromptMessage) -> None:
    call_id = result["tool_call_id"]
    result.clear()
    result |= {**message, "tool_call_id": call_id}


def _untaken(call_id: str, taken: set[str]) -> str:
    name, number = call_id, 1
    while name in taken:
        number += 1
        name = f"{call_id}_{number}"
    return name
