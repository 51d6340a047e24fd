"""Where a new turn of a session continues: behind the session's last turn, or at a turn that its order names."""

from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, one_of
from services.history.turns.branches import Branch, ranges_of, shown_below
from services.history.turns.new_turn import Target
from services.history.turns.record import USAGE_ONLY
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmitTurn

_FIELDS: Final = {"n": 1, "hidden": 1, "parent": 1}


class Branches:
    """An order that names no turn costs nothing: the session, which was read anyway, has its active branch."""

    def __init__(self, database: Database) -> None:
        self._sessions = database.sessions
        self._turns = database.turns

    async def of(self, workspace: str, order: AdmitTurn, session: Document) -> Branch:
        """`session` has at least its `hidden`. Raises `turn_not_found`."""
        if order.parent is not None:
            named = await self._named(workspace, order, order.parent)
            return Branch(ranges_of(named.get("hidden")), named["n"], order.parent)
        if order.instead_of is not None:
            named = await self._named(workspace, order, order.instead_of)
            hidden = ranges_of(named.get("hidden"))
            return Branch(hidden, named["n"] - 1, await self._parent(workspace, order, named))
        return Branch(ranges_of(session.get("hidden")))

    async def again(self, workspace: str, order: AdmitTurn, target: Target) -> Target:
        """The target after another turn of the session was faster: it may have begun a branch."""
        if target.branch.number is not None:
            return target
        session = await self._sessions.one({"_id": order.session_id, "workspace": workspace}, {"hidden": 1})
        return target._replace(branch=Branch(ranges_of((session or {}).get("hidden"))))

    async def _named(self, workspace: str, order: AdmitTurn, turn_id: str) -> Document:
        where = {"_id": turn_id, "workspace": workspace, "sessionId": order.session_id, USAGE_ONLY: None}
        if (row := await self._turns.one(where, _FIELDS)) is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        return row

    async def _parent(self, workspace: str, order: AdmitTurn, named: Document) -> str | None:
        """The turn before the named one on its branch; None for the first."""
        if "parent" in named:
            return str(named["parent"])
        number = next(shown_below(ranges_of(named.get("hidden")), named["n"]), None)
        if number is None:
            return None
        where = {"workspace": workspace, "sessionId": order.session_id, "n": one_of([number])}
        row = await self._turns.one(where, {"n": 1})
        return str(row["_id"]) if row is not None else None
