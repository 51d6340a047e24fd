"""Items that a caller names by their ids in place of sending them: Vercel's AI SDK does so for earlier answers."""

import re
from typing import Any, Final

from services.gateway.call import Call
from services.gateway.edge.validation import refused
from services.gateway.faces.responses.output import output_items
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StoredTurn
from shared.ids import is_id

KIND: Final = "item_reference"
# Each costs a call of history.
MAX_TURNS: Final = 100
_ITEM: Final = re.compile(r"(?:msg|fc|fs)_([0-9a-z]{26})_[0-9]{1,10}_[0-9]{1,6}")

Sent = str | list[dict[str, Any]]


async def with_referenced(call: Call, sent: Sent) -> Sent:
    """The input with the items that it names. Raises `invalid_request` for one that is not there."""
    if isinstance(sent, str) or all(item.get("type") != KIND for item in sent):
        return sent
    turns: dict[str, dict[str, dict[str, Any]]] = {}
    found: list[dict[str, Any]] = []
    for index, item in enumerate(sent):
        if item.get("type") != KIND:
            found.append(item)
            continue
        turn_id = _turn_of(item.get("id"))
        if turn_id is not None and turn_id not in turns and len(turns) < MAX_TURNS:
            turns[turn_id] = await _items_of(call, turn_id)
        named = turns.get(turn_id or "", {}).get(str(item.get("id")))
        if named is None:
            raise refused(f"input[{index}].id", "names no item of a stored response")
        found.append(named)
    return found


def _turn_of(item: Any) -> str | None:
    shape = _ITEM.fullmatch(item) if isinstance(item, str) else None
    turn_id = f"trn_{shape[1]}" if shape is not None else ""
    return turn_id if is_id("trn", turn_id) else None


async def _items_of(call: Call, turn_id: str) -> dict[str, dict[str, Any]]:
    """A stored response's output by the ids of its items; empty where there is no such response."""
    try:
        stored = await call.dependencies.history.turn(call.workspace, turn_id)
    except ApiError as error:
        if error.code is Code.TURN_NOT_FOUND:
            return {}
        raise
    if stored.turn.session_id is None or stored.erased:
        return {}
    messages = [_public(message, stored) for message in stored.output]
    return {item["id"]: item for item in output_items(stored.turn, messages, stored.turn.finish_reason)}


def _public(message: TurnMessage, stored: StoredTurn) -> dict[str, Any]:
    return message.public(stored.turn.session_id, stored.turn.id)
