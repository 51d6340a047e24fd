"""Publishing and rolling back: how a version gets its number, becomes ready, and how the published pointer moves.

A publishing is accepted by one insert: the version's document, in state `preparing`, with the number of the move that
it will make. When all that it waits for is ready, one update of the agent moves the pointer, if no later move has been
made meanwhile, and brings the audit entry with it. Each step may be repeated; the reconciler finishes what a killed
process left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.agents.agents import Agents
from services.history.agents.documents import WITHOUT_DRAFT, agent_key, passages_digest, version_key, version_of
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.knowledge.passages import Passages
from services.history.knowledge.version_sources import VersionSources
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, up_to
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.agent_records import PublishOrder, RollbackOrder, VersionRecord
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.tracing.spans import traceparent

# Each round means that another publishing took the number or the move in between.
ROUNDS: Final = 50
RESUMED: Final = 20
# A publisher waits so long for the index before it is told that the version is being prepared.
INDEX_LOOKS: Final = 20
INDEX_LOOK_S: Final = 0.1
PREPARING_GRACE: Final = timedelta(seconds=5)
PASSAGES_WITHIN: Final = timedelta(hours=1)

Ready = Callable[[Document], Awaitable[bool]]
"""Whether one thing that a version waits for is ready.

It starts that work, may be asked again, and raises for a failure.
"""


class Publishing:
    """`waits`: what a version waits for besides its passages, asked in turn until each is ready."""

    def __init__(
        self,
        database: Database,
        agents: Agents,
        passages: Passages,
        sources: VersionSources,
        audit: Audit,
        subscriptions: Subscriptions,
        waits: Sequence[Ready] = (),
    ) -> None:
        self._documents = database.agents
        self._versions = database.agent_versions
        self._agents = agents
        self._passages = passages
        self._sources = sources
        self._audit = audit
        self._subscriptions = subscriptions
        self._waits = waits

    async def publish(
        self, workspace: str, agent_id: str, order: PublishOrder, passages: Sequence[Passage] | None = None
    ) -> VersionRecord:
        """Freezes the draft under the next number. `passages` None: with the knowledge of the latest version.

        With `order.key` a repeat is the same version; without one, a draft that equals the latest version is that
        version. Raises `agent_not_found`, `idempotency_mismatch` for a key that was used with another draft.
        """
        for _ in range(ROUNDS):
            agent = await self._agents.document(workspace, agent_id)
            if order.key is not None and (earlier := await self._by_key(agent, order.key)) is not None:
                return version_of(await self._prepared_soon(earlier, passages))
            latest = await self._latest(agent)
            knowledge = await self._sources.draft_digest(workspace, agent_id)
            if latest is not None and order.key is None and _is_same(agent, latest, order, passages, knowledge):
                row = latest
                if row.get("state", "published") == "published" and agent.get("publishedVersion") != row["number"]:
                    await self._move(agent, row["number"], await self._next_move(agent), "agent.published", order.actor)
                return version_of(await self._prepared_soon(row, passages))
            if (accepted := await self._accept(agent, latest, order, passages)) is not None:
                return version_of(await self._prepared_soon(accepted, passages))
        raise ApiError(Code.OVERLOADED)

    async def _accept(
        self, agent: Document, latest: Document | None, order: PublishOrder, passages: Sequence[Passage] | None
    ) -> Document | None:
        """The new version's document. None: another publishing took the number; look again."""
        number = (latest["number"] if latest else 0) + 1
        carried = latest if passages is None else None
        own = carried.get("ownPassages", carried["passageCount"]) if carried else len(passages or ())
        row: Document = {
            "_id": f"{agent['_id']}:{number}",
            "workspace": agent["workspace"],
            "agent": agent["_id"],
            "number": number,
            "config": agent["draft"],
            "passagesDigest": carried.get("passagesDigest") if carried else passages_digest(passages or ()),
            "state": "preparing",
            "preparing": True,
            "move": await self._next_move(agent),
            "note": order.note,
            "knowledge": carried.get("knowledge", carried["number"]) if carried else number,
            "ownPassages": own,
            "passageCount": own,
            "sources": [],
            "sourcesFrozen": False,
            "frozen": carried is not None or not passages,
            "createdAt": datetime.now(UTC),
        }
        if order.require_checks:
            row["requireChecks"] = True
        if order.key is not None:
            row["publishKey"] = order.key
        if parent := traceparent():
            row["traceparent"] = parent
        if order.actor is not None:
            row["createdBy"] = order.actor
        try:
            await self._versions.insert(row)
        except Duplicate:
            row_or_none = None
        else:
            row_or_none = row
        # Also for a number that another publishing took and did not live to announce.
        await self._documents.update({"_id": agent["_id"]}, {"$max": {"latestVersion": number}})
        return row_or_none

    async def _prepared_soon(self, row: Document, passages: Sequence[Passage] | None) -> Document:
        """As `_prepare`, and waits a moment for an index: most builds take less."""
        row = await self._prepare(row, passages)
        for _ in range(INDEX_LOOKS):
            if row.get("state") != "preparing" or not (row.get("sourcesFrozen") and row["passageCount"]):
                break
            await asyncio.sleep(INDEX_LOOK_S)
            row = await self._versions.one({"_id": row["_id"]}) or row
            if row.get("indexState"):
                return await self._prepare(row)
        return row

    async def _prepare(self, row: Document, passages: Sequence[Passage] | None = None) -> Document:
        """Goes on with a version that is being prepared, as far as it goes. The document as it stands then."""
        if row.get("state", "published") != "preparing":
            return row
        if not row["frozen"]:
            if passages is None:
                # Only the publisher has them: its repeat brings them.
                return row if _age(row) < PASSAGES_WITHIN else await self._fail(row, "Its passages were never sent.")
            await self._passages.freeze(row["_id"], passages)
            await self._versions.update({"_id": row["_id"]}, {"$set": {"frozen": True}})
        if (with_sources := await self._sources.frozen(row)) is None:
            return row
        row = with_sources
        for ready in self._waits:
            try:
                if not await ready(row):
                    return row
            except ApiError as error:
                if error.retryable:
                    raise
                return await self._fail(row, error.detail)
        workspace, agent_id, _ = row["_id"].split(":")
        agent = await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        await self._move(agent, row["number"], row["move"], "agent.published", row.get("createdBy"))
        done = {"state": "published", "publishedAt": datetime.now(UTC)}
        await self._versions.update({"_id": row["_id"]}, {"$set": done, "$unset": {"preparing": ""}})
        return {**row, **done}

    async def _fail(self, row: Document, reason: str) -> Document:
        done = {"state": "failed", "reason": reason}
        await self._versions.update({"_id": row["_id"]}, {"$set": done, "$unset": {"preparing": ""}})
        return {**row, **done}

    async def _next_move(self, agent: Document) -> int:
        """A move number that nobody else has. Numbers may be left unused."""
        moves = agent.get("moves", 0)
        for _ in range(ROUNDS):
            where = {"_id": agent["_id"], "moves": agent.get("moves")}
            if await self._documents.update(where, {"$set": {"moves": moves + 1}}):
                return int(moves) + 1
            row = await self._documents.one({"_id": agent["_id"], "deleted": None}, {"moves": 1})
            if row is None:
                raise ApiError(Code.AGENT_NOT_FOUND)
            agent = {**agent, "moves": row.get("moves")}
            moves = row.get("moves", 0)
        raise ApiError(Code.OVERLOADED)

    async def _move(self, agent: Document, number: int, move: int, action: str, actor: str | None) -> None:
        """Points the agent to the version, unless a later move has been made. May be repeated: a move is made once."""
        key = agent["_id"]
        if agent.get("pointerMove") is None:
            await self._documents.update({"_id": key, "pointerMove": None}, {"$set": {"pointerMove": 0}})
        entry = audit_entry(action, agent["agentId"], actor, version=number, before=agent.get("publishedVersion"))
        change: Document = {
            "$set": {"publishedVersion": number, "pointerMove": move},
            "$max": {"latestVersion": number},
            "$push": {PENDING: entry},
        }
        change = self._subscriptions.pushed(change, agent["workspace"], "agent.published", version=number)
        await self._documents.update({"_id": key, "pointerMove": up_to(move - 1), "deleted": None}, change)
        row = await self._documents.one({"_id": key}, WITHOUT_DRAFT)
        if row is not None:
            await self._audit.deliver(self._documents, row)

    async def rollback(self, workspace: str, agent_id: str, order: RollbackOrder) -> VersionRecord:
        """Points new sessions to an earlier (or later) version.

        Raises `agent_not_found`, and `not_found` for a version that does not exist or is not ready. If the version
        is the published one already, nothing changes and nothing is recorded.
        """
        agent = await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        row = await self._versions.one({"_id": version_key(workspace, agent_id, order.version)})
        if row is None or row.get("state", "published") != "published":
            raise ApiError(Code.NOT_FOUND, f"Version {order.version} of this agent was never published.")
        if agent.get("publishedVersion") != order.version:
            await self._move(agent, order.version, await self._next_move(agent), "agent.rolled_back", order.actor)
        return version_of(row)

    async def reconcile(self, limit: int = 100) -> None:
        """Goes on with the versions whose publisher is gone."""
        before = datetime.now(UTC) - PREPARING_GRACE
        where = {"preparing": True, "createdAt": up_to(before)}
        for row in await self._versions.many(where, order=[("createdAt", 1)], limit=limit):
            try:
                await self._prepare(row)
            except ApiError as error:
                if error.code is not Code.AGENT_NOT_FOUND:
                    raise
                await self._fail(row, "The agent was deleted.")

    async def resume(self, workspace: str, agent_id: str) -> None:
        """Something that the agent's versions wait for is ready. Raises ApiError."""
        where = {"agent": agent_key(workspace, agent_id), "preparing": True}
        for row in await self._versions.many(where, order=[("number", 1)], limit=RESUMED):
            await self._prepare(row)

    async def _by_key(self, agent: Document, key: str) -> Document | None:
        return await self._versions.one({"agent": agent["_id"], "publishKey": key})

    async def _latest(self, agent: Document) -> Document | None:
        number = agent.get("latestVersion") or agent.get("publishedVersion")
        return await self._versions.one({"_id": f"{agent['_id']}:{number}"}) if number else None


def _is_same(
    agent: Document,
    latest: Document,
    order: PublishOrder,
    passages: Sequence[Passage] | None,
    knowledge: str | None,
) -> bool:
    """Whether publishing would freeze what the latest version holds already, or waits to hold.

    `knowledge` is the digest of the draft's sources; None while one of them has not been read.
    """
    if latest.get("state", "published") == "failed" or latest["config"] != agent["draft"]:
        return False
    if latest.get("sourcesFrozen", True) and latest.get("sourcesDigest", "") != knowledge:
        return False
    if order.require_checks and not latest.get("requireChecks"):
        return False
    return passages is None or latest.get("passagesDigest") == passages_digest(passages)


def _age(row: Document) -> timedelta:
    age: timedelta = datetime.now(UTC) - row["createdAt"]
    return age
