"""The mark of a deleted session whose turns have to be erased. The reconciler erases them while it is there.

A turn that slipped into the session sets the mark before its end is stored. An erasure that had begun before must not
take that mark away: it has not seen the end. So the marks are counted, and an erasure removes only what it knew of.
"""

from services.history.mongo.client import Database


class ErasingMarks:
    """Every method may be repeated, and be called by several processes at once."""

    def __init__(self, database: Database) -> None:
        self._sessions = database.sessions

    async def add(self, workspace: str, session_id: str) -> None:
        """Does nothing to a session that is not deleted."""
        deleted = {"_id": session_id, "workspace": workspace, "status": "deleted"}
        await self._sessions.update(deleted, {"$set": {"erasing": True}, "$inc": {"erasings": 1}})

    async def known(self, workspace: str, session_id: str) -> int | None:
        """How often the session was marked; to be read before its turns are looked for."""
        row = await self._sessions.one({"_id": session_id, "workspace": workspace}, {"erasings": 1})
        return row.get("erasings") if row is not None else None

    async def remove(self, workspace: str, session_id: str, known: int | None) -> bool:
        """False: the session was marked since `known` was read, and the mark is still there."""
        mine = {"_id": session_id, "workspace": workspace}
        if await self._sessions.update({**mine, "erasings": known}, {"$unset": {"erasing": ""}}):
            return True
        # Its workspace was deleted with it.
        return await self._sessions.one(mine, {"_id": 1}) is None
