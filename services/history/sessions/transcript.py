"""The transcript of a session: the messages of its active branch in the order of their turns, in pages."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

from services.history.mongo.client import Database
from services.history.mongo.dialect import Direction
from services.history.mongo.filters import between, one_of
from services.history.sessions.sessions import Sessions
from services.history.turns.branches import is_hidden, shown_below
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
        self,
        workspace: str,
        session_id: str,
        direction: Direction,
        after: Position | None,
        limit: int,
        *,
        branches: bool = False,
    ) -> tuple[list[dict[str, Any]], Position | None]:
        """Up to `limit` public messages beyond a position, and the position to continue from.

        `branches`: those of all branches, each with `parentTurnId`: the turn that its turn follows.
        """
        session, hidden = await self._sessions.with_branch(workspace, session_id)
        found: list[tuple[Position, dict[str, Any]]] = []
        turns: dict[str, TurnRecord] = {}
        async for record in self._walk(
            workspace, session_id, direction, after.n if after else None, session.turn_count
        ):
            if not branches and is_hidden(hidden, record.n):
                continue
            turns[record.id] = record
            messages = list(enumerate((*record.input, *record.output)))
            for index, message in messages if direction == "asc" else reversed(messages):
                position = Position(record.n, index)
                if after is None or (position > after if direction == "asc" else position < after):
                    found.append((position, message.public(session_id, record.id)))
            if len(found) > limit:
                break
        page = found[:limit]
        if branches:
            parents = await self._parents(workspace, session_id, list(turns.values()))
            page = [(at, {**message, "parentTurnId": parents[message["turnId"]]}) for at, message in page]
        return [message for _, message in page], page[-1][0] if len(found) > limit else None

    async def _parents(self, workspace: str, session_id: str, turns: Sequence[TurnRecord]) -> dict[str, str | None]:
        """By turn: the turn that it follows. Those that the page does not have are looked up."""
        numbers = {turn.id: next(shown_below(turn.hidden, turn.n), 0) for turn in turns}
        ids = {turn.n: turn.id for turn in turns}
        if missing := sorted({number for number in numbers.values() if number} - ids.keys()):
            where = {"workspace": workspace, "sessionId": session_id, "n": one_of(missing)}
            ids |= {row["n"]: row["_id"] for row in await self._turns.many(where, fields={"n": 1})}
        return {turn_id: ids.get(number) for turn_id, number in numbers.items()}

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
