"""The turns of a session by their numbers, and the state of many sessions at once: what followers of sessions read."""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import between, one_of
from services.history.sessions.filters import VISIBLE
from services.history.sessions.sessions import Sessions
from services.history.turns.branches import shown_below
from services.history.turns.record import SHOWN, TurnRecord
from shared.contracts.session_turns import SessionTurns
from shared.contracts.sessions import SessionState
from shared.contracts.turns import StoredTurn

# Turns are read with their texts, so a page is short.
MAX_TURNS: Final = 50


class SessionTurnPages:
    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._turns = database.turns
        self._rows = database.sessions
        self._sessions = sessions

    async def page(self, workspace: str, session_id: str, start: int, limit: int) -> SessionTurns:
        """The turns from number `start` on. Raises `session_not_found`.

        The session is read first: if it has ended then, and the last page has no active turn, nothing will follow.
        """
        session = await self._sessions.read(workspace, session_id)
        where = {"workspace": workspace, "sessionId": session_id, "n": between(start, start + limit)}
        rows = await self._turns.many(where, fields=SHOWN, order=[("n", 1)])
        following = start + limit if start + limit <= session.turn_count else None
        return SessionTurns(session=session, turns=tuple(_stored(row) for row in rows), next=following)

    async def branch(self, workspace: str, session_id: str, before: int | None, limit: int) -> SessionTurns:
        """The last turns of the session's active branch, of those with a number below `before`; in ascending order.

        `next`: what `before` is for the turns in front of these. Raises `session_not_found`.
        """
        session, hidden = await self._sessions.with_branch(workspace, session_id)
        below = session.turn_count + 1 if before is None else min(before, session.turn_count + 1)
        numbers = sorted(islice(shown_below(hidden, below), limit))
        if not numbers:
            return SessionTurns(session=session)
        where = {"workspace": workspace, "sessionId": session_id, "n": one_of(numbers)}
        rows = await self._turns.many(where, fields=SHOWN, order=[("n", 1)])
        following = numbers[0] if any(shown_below(hidden, numbers[0])) else None
        return SessionTurns(session=session, turns=tuple(_stored(row) for row in rows), next=following)

    async def states(self, names: Sequence[tuple[str, str]]) -> list[SessionState | None]:
        """Of many sessions, each named by workspace and id, in their order. None: there is no such session."""
        found: dict[tuple[str, str], SessionState] = {}
        for workspace in sorted({workspace for workspace, _ in names}):
            ids = sorted({session_id for owner, session_id in names if owner == workspace})
            # In this order: a turn is counted in its session before it stops being active.
            active = await self._sessions.active_turns(workspace, *ids)
            where = {"workspace": workspace, "_id": one_of(ids), "status": one_of(VISIBLE)}
            for row in await self._rows.many(where, fields={"status": 1, "turnCount": 1}):
                running = active.get(row["_id"])
                found[workspace, row["_id"]] = SessionState(
                    status=row["status"],
                    turn_count=max(row["turnCount"], running["n"] if running is not None else 0),
                    active=running is not None,
                )
        return [found.get(name) for name in names]


def _stored(row: dict[str, object]) -> StoredTurn:
    return TurnRecord.model_validate(row).stored()
