"""The transcript of a session: its turns' messages in the order of their numbers, in pages."""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from services.history.mongo.client import Database
from services.history.mongo.dialect import Direction
from services.history.mongo.filters import between
from services.history.sessions.sessions import Sessions
from services.history.turns.record import SHOWN, TurnRecord

# A page of messages reads whole turns; most turns have two messages or more, so one read usually fills it.
TURNS_PER_READ: Final = 50


class Position(NamedTuple):
    """The position of a message: the number of its turn, and its index among the messages of the turn."""

    n: int
    message: int


class Transcript:
    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._turns = database.turns
        self._sessions = sessions

    async def page(
        self, workspace: str, session_id: str, direction: Direction, after: Position | None, limit: int
    ) -> tuple[list[dict[str, Any]], Position | None]:
        """Up to `limit` public messages beyond a position, and the position to continue from."""
        session = await self._sessions.read(workspace, session_id)
        found: list[tuple[Position, dict[str, Any]]] = []
        async for record in self._walk(
            workspace, session_id, direction, after.n if after else None, session.turn_count
        ):
            messages = list(enumerate((*record.input, *record.output)))
            for index, message in messages if direction == "asc" else reversed(messages):
                position = Position(record.n, index)
                if after is None or (position > after if direction == "asc" else position < after):
                    found.append((position, message.public(session_id, record.id)))
            if len(found) > limit:
                break
        page = found[:limit]
        return [message for _, message in page], page[-1][0] if len(found) > limit else None

    async def _walk(
        self, workspace: str, session_id: str, direction: Direction, start: int | None, last: int
    ) -> AsyncIterator[TurnRecord]:
        """The session's turns from number `start`, upwards or downwards."""
        step = TURNS_PER_READ if direction == "asc" else -TURNS_PER_READ
        number = (1 if direction == "asc" else last) if start is None else start
        while 1 <= number <= last:
            low, high = (number, number + step) if direction == "asc" else (number + step + 1, number + 1)
            where = {"workspace": workspace, "sessionId": session_id, "n": between(low, high)}
            order = [("n", 1 if direction == "asc" else -1)]
            for row in await self._turns.many(where, fields=SHOWN, order=order):
                yield TurnRecord.model_validate(row)
            number += step
