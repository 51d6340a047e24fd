"""Sessions: one conversation each, from its creation to its end or its erasure."""

from datetime import UTC, datetime
from typing import Final

import orjson
from pydantic import BaseModel, Field

from services.history.agents.agents import Agents
from services.history.agents.documents import DRAFT
from services.history.agents.variables import refuse_missing, texts_of, values_for
from services.history.agents.versions import Versions
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.dialect import Direction, IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above, one_of
from services.history.sessions.filters import VISIBLE, SessionFilters
from services.history.turns.branches import Ranges, ranges_of
from services.history.turns.end_users import end_user_of
from services.history.turns.erasure import Erasure
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import labels_of
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import NAME_PATTERN
from shared.contracts.sessions import MAX_CLIENT_ID, EndedReason, EndUser, Session

END_PAGE: Final = 100
SESSION_IDS: Final = IdField("_id", "ses")
# What a deletion takes away at once: all that a person may have said or be known by.
_ERASED: Final = ("metadata", "labels", "lastMessageAt", "emptySince", "collected", "endUser", "endUserId", "clientId")
_ACTIVE: Final = {"sessionId": 1, "n": 1, "createdAt": 1, "hidden": 1}
_AUDITED: Final = {"workspace": 1, PENDING: 1}


class NewSession(BaseModel):
    id: str = Field(pattern=f"^{NAME_PATTERN}$")
    agent_id: str = Field(alias="agentId")
    metadata: dict[str, str] = Field(default_factory=dict)
    end_user: EndUser | None = Field(default=None, alias="endUser")
    draft: bool = False
    version: int | None = Field(default=None, ge=1)
    client_id: str | None = Field(default=None, alias="clientId", min_length=1, max_length=MAX_CLIENT_ID)


class Sessions:
    def __init__(
        self,
        database: Database,
        agents: Agents,
        versions: Versions,
        finalizer: TurnFinalizer,
        erasure: Erasure,
        audit: Audit,
        subscriptions: Subscriptions,
    ) -> None:
        self._sessions = database.sessions
        self._turns = database.turns
        self._agents = agents
        self._versions = versions
        self._finalizer = finalizer
        self._erasure = erasure
        self._audit = audit
        self._subscriptions = subscriptions

    async def create(self, workspace: str, new: NewSession) -> Session:
        """Pins the published version, or the one that is asked for.

        A session of the same id, or of the same client id, is returned as it is.

        Raises `agent_not_found`, `no_published_version`, and `validation_failed` where a variable of the agent's texts
        has no value.
        """
        if (known := await self._known(workspace, new)) is not None:
            return known
        agent = await self._agents.find(workspace, new.agent_id)
        version = DRAFT if new.draft else new.version or agent.published_version
        if version is None:
            raise ApiError(Code.NO_PUBLISHED_VERSION)
        now = datetime.now(UTC)
        config = (await self._versions.read(workspace, new.agent_id, version)).config
        values = values_for(config, new.metadata, new.end_user, agent_id=new.agent_id, session_id=new.id, now=now)
        refuse_missing(texts_of(config), values)
        document: Document = {
            "_id": new.id,
            "workspace": workspace,
            "agentId": new.agent_id,
            "agentVersion": version,
            "status": "active",
            "metadata": orjson.dumps(new.metadata).decode(),
            "turnCount": 0,
            "createdAt": now,
            # Until its first message, for the retention.
            "emptySince": now,
        }
        if new.client_id is not None:
            document["clientId"] = new.client_id
        if new.metadata:
            document["labels"] = labels_of(new.metadata)
        if new.end_user is not None:
            document |= {"endUserId": new.end_user.id, "endUser": orjson.dumps(new.end_user.wire()).decode()}
        document |= self._subscriptions.first(workspace, "session.created")
        try:
            await self._sessions.insert(document)
        except Duplicate:
            return await self._known(workspace, new) or await self.read(workspace, new.id)
        # Who deletes an agent first marks it, then ends its sessions: one of both sees this session.
        if not await self._agents.is_there(workspace, new.agent_id):
            await self.end(workspace, new.id, "agent")
            raise ApiError(Code.AGENT_NOT_FOUND)
        return _session(document)

    async def _known(self, workspace: str, new: NewSession) -> Session | None:
        return await self.of_client(workspace, new.agent_id, new.client_id) if new.client_id is not None else None

    async def of_client(self, workspace: str, agent_id: str, client_id: str) -> Session | None:
        """The session that a client knows by an id of its own."""
        where = {"workspace": workspace, "agentId": agent_id, "clientId": client_id}
        row = await self._sessions.one(where, {"status": 1, "clientId": 1})
        return await self.read(workspace, row["_id"]) if row is not None else None

    async def read(self, workspace: str, session_id: str) -> Session:
        """Raises `session_not_found`."""
        return (await self.with_branch(workspace, session_id))[0]

    async def with_branch(self, workspace: str, session_id: str) -> tuple[Session, Ranges]:
        """The session, and the numbers of the turns that are not on its active branch. Raises `session_not_found`."""
        # In this order: a turn is counted in its session before it stops being active.
        active = (await self.active_turns(workspace, session_id)).get(session_id)
        row = await self._sessions.one({"_id": session_id, "workspace": workspace})
        if row is None or row["status"] == "deleted":
            raise ApiError(Code.SESSION_NOT_FOUND)
        return _session(row, active), ranges_of((row if active is None else active).get("hidden"))

    async def active_turns(self, workspace: str, *session_ids: str) -> dict[str, Document]:
        """By session: number and time of its active turn. The session counts a turn only when the turn ends."""
        where = {"workspace": workspace, "sessionId": one_of(session_ids), "active": True}
        rows = await self._turns.many(where, fields=_ACTIVE)
        return {row["sessionId"]: row for row in rows}

    async def page(
        self, workspace: str, filters: SessionFilters, direction: Direction, after: str | None, limit: int
    ) -> tuple[list[Session], str | None]:
        """Sessions beyond the id `after`, and the id to continue from."""
        where = filters.where(workspace)
        low, high = filters.bounds()
        rows, following = await self._sessions.page(where, SESSION_IDS, direction, after, limit, low=low, high=high)
        return await self.shown(workspace, rows), following

    async def shown(self, workspace: str, rows: list[Document]) -> list[Session]:
        active = await self.active_turns(workspace, *(row["_id"] for row in rows if row["status"] == "active"))
        return [_session(row, active.get(row["_id"])) for row in rows]

    async def end(self, workspace: str, session_id: str, reason: EndedReason) -> Session:
        """Idempotent. The end is written first: no turn can be admitted after the active turn was stopped."""
        change: Document = {"$set": {"status": "ended", "endedAt": datetime.now(UTC), "endedReason": reason}}
        change = self._subscriptions.pushed(change, workspace, "session.ended")
        await self._sessions.update({"_id": session_id, "workspace": workspace, "status": "active"}, change)
        session = await self.read(workspace, session_id)
        await self._finalizer.stop_session(workspace, session_id)
        await self._finalizer.signal_session(workspace, session_id)
        return session

    async def end_all(self, workspace: str, agent_id: str) -> None:
        """Ends every active session of an agent. May be repeated, and picks up where it was interrupted."""
        where = {"workspace": workspace, "agentId": agent_id, "status": "active"}
        while rows := await self._sessions.many(where, fields={"_id": 1}, limit=END_PAGE):
            for row in rows:
                await self.end(workspace, row["_id"], "agent")

    async def delete(self, workspace: str, session_id: str, actor: str | None = None) -> None:
        """Idempotent. Raises `session_not_found` if it never existed.

        The reconciler completes an interrupted deletion.
        """
        await self.erase(workspace, session_id, audit_entry("session.deleted", session_id, actor))
        row = await self._sessions.one({"_id": session_id, "workspace": workspace}, _AUDITED)
        if row is None:
            raise ApiError(Code.SESSION_NOT_FOUND)
        await self._audit.deliver(self._sessions, row)

    async def erase(self, workspace: str, session_id: str, entry: Document | None = None) -> int:
        """The session with its turns, whoever asks for it. `entry`: for the audit. Returns how many turns it found."""
        change: Document = {
            "$set": {"status": "deleted", "erasing": True, "deletedAt": datetime.now(UTC)},
            "$unset": dict.fromkeys(_ERASED, ""),
        }
        if entry is not None:
            change["$push"] = {PENDING: entry}
        where = {"_id": session_id, "workspace": workspace, "status": one_of(VISIBLE)}
        await self._sessions.update(where, change)
        count = await self._erasure.erase_session(workspace, session_id)
        await self._finalizer.signal_session(workspace, session_id)
        return count

    async def reconcile(self, limit: int = 100) -> None:
        """Delivers audit entries that did not reach their collection."""
        for row in await self._sessions.many({f"{PENDING}.id": above("")}, fields=_AUDITED, limit=limit):
            await self._audit.deliver(self._sessions, row)


def _session(row: Document, active: Document | None = None) -> Session:
    metadata = orjson.loads(row["metadata"]) if "metadata" in row else {}
    running = {"turnCount": active["n"], "lastMessageAt": active["createdAt"]} if active is not None else {}
    collected = {name: orjson.loads(form) for name, form in row.get("collected", {}).items()} or None
    shown = {"id": row["_id"], "metadata": metadata, "collected": collected, "endUser": end_user_of(row)}
    return Session.model_validate({**row, **running, **shown})
