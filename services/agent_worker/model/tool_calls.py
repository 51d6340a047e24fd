"""Pure: tool calls from the pieces of a stream, also where ids and indexes are missing, repeated or wrong."""

import re
from typing import Any, Final

import orjson

from services.agent_worker.model.call_arguments import arguments_of
from services.agent_worker.model.characters import whole_characters
from services.agent_worker.model.chunks import BadChunk
from services.agent_worker.model.quirks import Quirk
from shared.contracts.companions import CALL_MEMBERS, companions_text
from shared.contracts.sessions import ToolCall

MAX_CALLS: Final = 64
# Gemini's thought signatures come inside ids of some gateways: about 1,000 characters.
MAX_ID: Final = 4096
MAX_NAME: Final = 256
_NAMESPACE: Final = re.compile(r"^(?:functions?|tools?|default_api)[.:/]")


class _Slot:
    """The pieces of one call, or of several that their server did not tell apart."""

    __slots__ = ("arguments", "companions", "id", "index", "name", "touched")

    def __init__(self, index: int | None, call_id: str) -> None:
        self.index = index
        self.id = call_id
        self.name = ""
        self.arguments: list[str] = []
        self.companions: dict[str, Any] = {}
        self.touched = 0  # The number of the chunk that wrote here last.


class CallAssembler:
    """`add` takes one chunk's `tool_calls`; `calls` is what they come to.

    `id_stem` makes ids for calls without a usable one.
    """

    def __init__(self, id_stem: str) -> None:
        self.quirks: set[Quirk] = set()
        self._id_stem = id_stem
        self._slots: list[_Slot] = []
        self._chunk = 0

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, entries: Any) -> int:
        """The characters of arguments that came. Raises BadChunk."""
        if not isinstance(entries, list):
            raise BadChunk("tool_calls")
        self._chunk += 1
        return sum(self._add_piece(entry) for entry in entries)

    def _add_piece(self, piece: Any) -> int:
        function = (piece.get("function") or piece) if isinstance(piece, dict) else None
        if not isinstance(function, dict):
            raise BadChunk("tool_calls")
        name, arguments = function.get("name") or "", self._text_of(function.get("arguments"))
        if not isinstance(name, str):
            raise BadChunk("function")
        name = self._plain(name)
        slot = self._slot(_index_of(piece), _id_of(piece), name)
        slot.touched = self._chunk
        slot.name = slot.name or name
        slot.arguments.append(arguments)
        slot.companions |= {member: piece[member] for member in CALL_MEMBERS if piece.get(member)}
        return len(arguments)

    def _text_of(self, arguments: Any) -> str:
        if isinstance(arguments, dict):
            self.quirks.add(Quirk.ODD_ARGUMENTS)
            try:
                return orjson.dumps(arguments).decode()
            except TypeError:  # An integer beyond 64 bits.
                raise BadChunk("arguments") from None
        if not isinstance(arguments, str | None):
            raise BadChunk("arguments")
        return arguments or ""

    def _plain(self, name: str) -> str:
        plain = _NAMESPACE.sub("", name.strip())[:MAX_NAME]
        if plain != name:
            self.quirks.add(Quirk.ODD_NAME)
        return plain

    def _slot(self, index: int | None, call_id: str, name: str) -> _Slot:
        slot = self._known(index, call_id)
        if slot is None or self._is_new_call(slot, index, call_id, name):
            if len(self._slots) >= MAX_CALLS:
                raise BadChunk("too many tool calls")
            slot = _Slot(index, call_id)
            self._slots.append(slot)
        slot.id = slot.id or call_id
        return slot

    def _known(self, index: int | None, call_id: str) -> _Slot | None:
        """The call that a piece may continue: by its index, else by its id, else the last one."""
        for slot in reversed(self._slots):
            if index is not None:
                if slot.index == index:
                    return slot
            elif not call_id or slot.id == call_id:
                return slot
        if index is not None:
            return None
        return self._slots[-1] if self._slots else None

    def _is_new_call(self, slot: _Slot, index: int | None, call_id: str, name: str) -> bool:
        """A piece without a name continues a call: servers exist that make a new id for each piece."""
        if index is None and slot.touched == self._chunk:
            return True  # Several entries of one chunk without indexes are several calls.
        if not name:
            return False
        other_id = bool(call_id and slot.id and call_id != slot.id)
        other_name = bool(slot.name and name != slot.name)
        return other_id or other_name or slot.touched == self._chunk

    # --- what came of it

    def calls(self) -> tuple[ToolCall, ...]:
        """In the order of their indexes, under ids that are unique among them."""
        if not self._slots:
            return ()
        taken: set[str] = set()
        return tuple(
            self._call(slot, arguments, taken) for slot in self._in_order() for arguments in self._arguments(slot)
        )

    def _in_order(self) -> list[_Slot]:
        if all(slot.index is not None for slot in self._slots):
            return sorted(self._slots, key=lambda slot: slot.index or 0)
        return self._slots

    def _arguments(self, slot: _Slot) -> list[str]:
        if not slot.name and not "".join(slot.arguments).strip(" {}"):
            self.quirks.add(Quirk.NAMELESS_CALL)
            return []
        found = arguments_of(slot.arguments)
        if len(found) > 1:
            self.quirks.add(Quirk.JOINED_CALLS)
        elif found[0] != "".join(slot.arguments):
            self.quirks.add(Quirk.ODD_ARGUMENTS)
        return found

    def _call(self, slot: _Slot, arguments: str, taken: set[str]) -> ToolCall:
        call_id = whole_characters(slot.id)
        if not call_id or call_id in taken:
            self.quirks.add(Quirk.REPEATED_CALL_ID if call_id else Quirk.CALL_WITHOUT_ID)
            call_id = f"call_{self._id_stem}_{len(taken)}"
        taken.add(call_id)
        return ToolCall(
            id=call_id,
            name=whole_characters(slot.name),
            arguments=whole_characters(arguments),
            companions=companions_text(slot.companions),
        )


def _index_of(piece: dict[str, Any]) -> int | None:
    index = piece.get("index")
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def _id_of(piece: dict[str, Any]) -> str:
    """An id as it came, if it can be used at all."""
    call_id = piece.get("id")
    if isinstance(call_id, int) and not isinstance(call_id, bool):
        call_id = str(call_id)
    return call_id if isinstance(call_id, str) and call_id.strip() and len(call_id) <= MAX_ID else ""
