"""The outbox: the Redis stream by which workers hand finished turns to history.

Here are its names and the form of an entry.

A worker's `finish` adds the entry and removes the job in one script (`shared/turn_queue/lua/finish.lua`), so the two
never disagree. History reads the stream as a consumer group and acknowledges an entry once the turn is stored and its
end is published.
"""

from typing import Final, NamedTuple

import orjson

from shared.contracts.turns import FinishedTurn

OUTBOX: Final = "turns.finished"
GROUP: Final = "history"
# Raised when existing members change their meaning. New members do not raise it: readers ignore those that they do not
# know.
SCHEMA_VERSION: Final = 1


class UnreadableEntry(Exception):
    """The entry holds no finished turn that this process can read. Repeating the read does not help."""


class OutboxEntry(NamedTuple):
    """An entry as it is in the stream. `workspace` is empty and `body` too when the turn's job could not be decoded."""

    turn_id: str
    workspace: str
    body: bytes
    schema_version: int

    @classmethod
    def of(cls, fields: dict[bytes, bytes]) -> "OutboxEntry":
        """From the stream's fields. Entries from before schema versions have none, and count as version 1."""
        version = fields.get(b"v", b"1")
        return cls(
            _text(fields, b"turn"),
            _text(fields, b"workspace"),
            fields.get(b"body", b""),
            int(version) if version.isdigit() else SCHEMA_VERSION + 1,
        )

    def finished_turn(self) -> FinishedTurn:
        """Raises UnreadableEntry."""
        if self.schema_version > SCHEMA_VERSION:
            raise UnreadableEntry(f"schema version {self.schema_version}")
        try:
            return FinishedTurn.model_validate(orjson.loads(self.body))
        except ValueError as error:  # pydantic's and orjson's errors are ValueErrors.
            raise UnreadableEntry(type(error).__name__) from None


def body_of(turn: FinishedTurn) -> bytes:
    return orjson.dumps(turn.wire())


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")
