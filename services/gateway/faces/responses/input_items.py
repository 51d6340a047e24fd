"""Pure: a turn's stored input as items."""

from typing import Any

from services.gateway.faces.responses.output import FUNCTION_CALL, Item, call_item, text_part
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StoredTurn


def input_items(stored: StoredTurn) -> list[Item]:
    """What the caller has sent, oldest first. A message with calls is an item for its text, and one for each call."""
    return [item for message in stored.input for item in _items(message)]


def _items(message: TurnMessage) -> list[Item]:
    if message.role == "tool":
        shown = {"call_id": message.tool_call_id or "", "output": message.content or "", "status": "completed"}
        return [{"id": message.id.replace("msg_", "fco_", 1), "type": "function_call_output", **shown}]
    calls = [_call(message, index) for index in range(len(message.tool_calls or ()))]
    return [_said(message), *calls] if message.content is not None else calls


def _said(message: TurnMessage) -> Item:
    text = message.content or ""
    part: dict[str, Any] = text_part(text) if message.role == "assistant" else {"type": "input_text", "text": text}
    return {"id": message.id, "type": "message", "status": "completed", "role": message.role, "content": [part]}


def _call(message: TurnMessage, index: int) -> Item:
    call = (message.tool_calls or ())[index].wire()
    return call_item(f"{message.id.replace('msg_', f'{FUNCTION_CALL}_', 1)}_{index}", call)
