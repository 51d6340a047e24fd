"""Sessions: one conversation each, from its creation to its end or its erasure."""

from datetime import UTC, datetime
from typing import Final

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from services.history.agents.versions import DRAFT, Agents
from services.history.api.bodies import (
    SESSION,
    WORKSPACE,
    bad_cursor,
    cursor_of,
    cursor_values,
    limit_of,
    page_of,
    part,
    read_schema,
)
from services.history.mongo.client import Document, Duplicate, Store, one_of
from services.history.mongo.id_pages import page_by_id
from services.history.turns.finalize import TurnFinalizer
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import EndedReason, Session
from shared.ids import is_id
from shared.web.bodies import json_response

VISIBLE: Final = ("active", "ended")


class NewSession(BaseModel):
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    agent_id: str = Field(alias="agentId")
    metadata: dict[str, str] = Field(default_factory=dict)
    draft: bool = False


class Ending(BaseModel):
    reason: EndedReason = "api"


class Sessions:
    def __init__(self, store: Store, agents: Agents, finalizer: TurnFinalizer) -> None:
        self._sessions = store.sessions
        self._turns = store.turns
        self._agents = agents
        self._finalizer = finalizer

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(WORKSPACE + "/sessions", self._post),
            web.get(WORKSPACE + "/sessions", self._get_page),
            web.get(SESSION, self._get),
            web.post(SESSION + "/end", self._post_end),
            web.delete(SESSION, self._delete),
        ]

    # --- rules

    async def create(self, workspace: str, new: NewSession) -> Session:
        """Pins the published version. Raises `agent_not_found`, `no_published_version`."""
        agent = await self._agents.find(workspace, new.agent_id)
        version = DRAFT if new.draft else agent.published_version
        if version is None:
            raise ApiError(Code.NO_PUBLISHED_VERSION)
        document: Document = {
            "_id": new.id,
            "id": new.id,
            "workspace": workspace,
            "agentId": new.agent_id,
            "agentVersion": version,
            "status": "active",
            "metadata": orjson.dumps(new.metadata).decode(),
            "turnCount": 0,
            "createdAt": datetime.now(UTC),
        }
        try:
            await self._sessions.insert(document)
        except Duplicate:
            return await self.read(workspace, new.id)
        return _session(document)

    async def read(self, workspace: str, session_id: str) -> Session:
        """Raises `session_not_found`."""
        # In this order: a turn that is not active any more has been counted before it ended.
        active = await self._active_turns(workspace, session_id)
        row = await self._sessions.one({"_id": session_id, "workspace": workspace})
        if row is None or row["status"] == "deleted":
            raise ApiError(Code.SESSION_NOT_FOUND)
        return _session(row, active.get(session_id))

    async def _active_turns(self, workspace: str, *session_ids: str) -> dict[str, Document]:
        """By session: number and time of the turn that runs, which its session counts only when it ends."""
        where = {"workspace": workspace, "sessionId": one_of(session_ids), "active": True}
        rows = await self._turns.many(where, fields={"sessionId": 1, "n": 1, "createdAt": 1})
        return {row["sessionId"]: row for row in rows}

    async def page(
        self, workspace: str, filters: dict[str, str], before: str | None, limit: int
    ) -> tuple[list[Session], str | None]:
        """The newest sessions with an id below `before`, and the id to go on from."""
        where = {"workspace": workspace, "status": one_of(VISIBLE), **filters}
        rows, after = await page_by_id(self._sessions, where, "id", "ses", "desc", before, limit)
        active = await self._active_turns(workspace, *(row["_id"] for row in rows if row["status"] == "active"))
        return [_session(row, active.get(row["_id"])) for row in rows], after

    async def end(self, workspace: str, session_id: str, reason: EndedReason) -> Session:
        """Idempotent. The end is written first, so that no turn can be admitted after its active one was stopped."""
        change = {"$set": {"status": "ended", "endedAt": datetime.now(UTC), "endedReason": reason}}
        await self._sessions.update({"_id": session_id, "workspace": workspace, "status": "active"}, change)
        session = await self.read(workspace, session_id)
        await self._finalizer.stop_session(workspace, session_id)
        return session

    async def delete(self, workspace: str, session_id: str) -> None:
        """Idempotent. Raises `session_not_found` for one that never was; what this leaves undone, the sweep completes."""
        change = {
            "$set": {"status": "deleted", "erasing": True, "deletedAt": datetime.now(UTC)},
            "$unset": {"metadata": "", "lastMessageAt": ""},
        }
        if not await self._sessions.update({"_id": session_id, "workspace": workspace}, change):
            raise ApiError(Code.SESSION_NOT_FOUND)
        await self._finalizer.erase_session(workspace, session_id)

    # --- handlers

    async def _post(self, request: web.Request) -> web.Response:
        session = await self.create(part(request, "workspace"), await read_schema(request, NewSession))
        return json_response(session.wire(), status=201)

    async def _get(self, request: web.Request) -> web.Response:
        return json_response((await self.read(part(request, "workspace"), part(request, "session_id"))).wire())

    async def _get_page(self, request: web.Request) -> web.Response:
        filters = {name: value for name in ("agentId", "status") if (value := request.query.get(name)) is not None}
        if filters.get("status", "active") not in VISIBLE:
            raise ApiError(Code.INVALID_REQUEST, "status must be active or ended.", param="status")
        values = cursor_values(request, str)
        before = values[0] if values else None
        if before is not None and not is_id("ses", before):
            raise bad_cursor()
        sessions, after = await self.page(part(request, "workspace"), filters, before, limit_of(request))
        return json_response(page_of([session.wire() for session in sessions], cursor_of([after]) if after else None))

    async def _post_end(self, request: web.Request) -> web.Response:
        reason = (await read_schema(request, Ending)).reason
        return json_response((await self.end(part(request, "workspace"), part(request, "session_id"), reason)).wire())

    async def _delete(self, request: web.Request) -> web.Response:
        await self.delete(part(request, "workspace"), part(request, "session_id"))
        return web.Response(status=204)


def _session(row: Document, active: Document | None = None) -> Session:
    metadata = orjson.loads(row["metadata"]) if "metadata" in row else {}
    running = {"turnCount": active["n"], "lastMessageAt": active["createdAt"]} if active is not None else {}
    return Session.model_validate({**row, **running, "id": row["_id"], "metadata": metadata})
