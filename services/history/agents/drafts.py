"""Drafts: agents created, listed, changed and deleted. Publishing is in `publishing.py`."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from services.history.agents.agents import Agents
from services.history.agents.documents import (
    AGENT_IDS,
    WITHOUT_DRAFT,
    agent_key,
    config_of,
    default_slug,
    frozen,
    record_of,
)
from services.history.agents.draft_rules import checked_draft
from services.history.agents.merge_patch import merged
from services.history.agents.sealing import with_sealed_secrets
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from shared.contracts.agent_records import SLUG, AgentRecord, DraftPatch, NewAgent
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.secrets import SecretBox
from shared.web.guard_rules import OutgoingPolicy

# Each round means that another editor changed the draft in between.
PATCH_ROUNDS: Final = 20

AfterDeletion = Callable[[str, str], Awaitable[None]]


class Drafts:
    """`upstreams`: the names that agents may use; empty: any. `policy`: where workers may call, if it is known.

    `after`: what goes with a deleted agent, such as its sessions.
    """

    def __init__(
        self,
        database: Database,
        agents: Agents,
        audit: Audit,
        box: SecretBox,
        upstreams: Collection[str],
        after: Sequence[AfterDeletion],
        policy: OutgoingPolicy | None = None,
    ) -> None:
        self._documents = database.agents
        self._agents = agents
        self._audit = audit
        self._box = box
        self._upstreams = upstreams
        self._after = after
        self._policy = policy

    async def create(self, workspace: str, new: NewAgent) -> AgentRecord:
        """Raises `validation_failed`, also for a slug that another agent of the workspace has.

        A repeat creates nothing.
        """
        config = self._checked(workspace, new.draft, None)
        now = datetime.now(UTC)
        document: Document = {
            "_id": agent_key(workspace, new.id),
            "workspace": workspace,
            "agentId": new.id,
            "name": config.name,
            "draft": frozen(config),
            "revision": 1,
            "latestVersion": 0,
            "moves": 0,
            "pointerMove": 0,
            "createdAt": now,
            "updatedAt": now,
            PENDING: [audit_entry("agent.created", new.id, new.actor)],
        }
        if new.key is not None:
            document["createKey"] = new.key
        slugs = [_checked_slug(new.slug)] if new.slug is not None else _proposed_slugs(config.name, new.id)
        for slug in slugs:
            try:
                await self._documents.insert({**document, "slug": slug})
            except Duplicate:
                if (agent_id := await self._created_before(workspace, new)) is None:
                    continue
                return await self._delivered(workspace, agent_id)
            return await self._delivered(workspace, new.id)
        raise _slug_taken(slugs[0])

    async def _created_before(self, workspace: str, new: NewAgent) -> str | None:
        """The agent that the same order made. None: what the insert met is the slug of another agent."""
        if new.key is not None:
            row = await self._documents.one({"workspace": workspace, "createKey": new.key}, {"agentId": 1})
            return row["agentId"] if row is not None else None
        return new.id if await self._agents.exists(workspace, new.id) else None

    async def get(self, workspace: str, agent_id: str) -> AgentRecord:
        """With the draft. Raises `agent_not_found`."""
        return record_of(await self._agents.document(workspace, agent_id))

    async def find_slug(self, workspace: str, slug: str) -> AgentRecord | None:
        """The agent without its draft."""
        row = await self._documents.one({"workspace": workspace, "slug": slug}, WITHOUT_DRAFT)
        return record_of(row) if row is not None and not row.get("deleted") else None

    async def page(self, workspace: str, after: str | None, limit: int) -> tuple[list[AgentRecord], str | None]:
        """Agents without their drafts, newest first, and the id to go on from."""
        rows, following = await self._documents.page(
            {"workspace": workspace, "deleted": None}, AGENT_IDS, "desc", after, limit, WITHOUT_DRAFT
        )
        return [record_of(row) for row in rows], following

    async def patch(self, workspace: str, agent_id: str, order: DraftPatch) -> AgentRecord:
        """Applies a JSON merge patch to the draft, whole or not at all.

        Raises `version_conflict` when the editor's revision is stale, `validation_failed`, `payload_too_large`.
        """
        for _ in range(PATCH_ROUNDS):
            row = await self._agents.document(workspace, agent_id)
            record = record_of(row)
            config = self._checked(workspace, merged(record.draft, order.patch), config_of(row["draft"]))
            change = {"draft": frozen(config), "name": config.name}
            if order.slug is not None:
                change["slug"] = _checked_slug(order.slug)
            is_applied = all(row.get(name) == value for name, value in change.items())
            if order.revision is not None and record.revision != order.revision:
                # A repeat of a change whose answer was lost is answered like the first time.
                if is_applied and record.revision == order.revision + 1:
                    return record
                raise conflict(record)
            if is_applied or await self._replace(row, record.revision, change, order.actor):
                return await self._delivered(workspace, agent_id)
        raise ApiError(Code.OVERLOADED)

    def _checked(self, workspace: str, draft: dict[str, Any], stored: AgentConfig | None) -> AgentConfig:
        """The draft as it is stored, with its secrets sealed."""
        return with_sealed_secrets(checked_draft(draft, self._upstreams, self._policy), self._box, workspace, stored)

    async def _replace(self, row: Document, revision: int, change: dict[str, Any], actor: str | None) -> bool:
        """False: another editor was faster."""
        where = {"_id": row["_id"], "revision": row.get("revision"), "deleted": None}
        fields = sorted(name for name in change if change[name] != row.get(name))
        update = {
            "$set": {**change, "revision": revision + 1, "updatedAt": datetime.now(UTC)},
            "$push": {PENDING: audit_entry("agent.updated", row["agentId"], actor, fields=fields)},
        }
        try:
            return await self._documents.update(where, update)
        except Duplicate:
            raise _slug_taken(change["slug"]) from None

    async def delete(self, workspace: str, agent_id: str, actor: str | None) -> None:
        """No new sessions and completions from now on; its sessions end; its knowledge is erased; transcripts stay.

        Idempotent. Raises `agent_not_found` for an agent that never existed.
        """
        key = agent_key(workspace, agent_id)
        change = {
            "$set": {"deleted": True, "endingSessions": True, "updatedAt": datetime.now(UTC)},
            "$unset": {"slug": ""},
            "$push": {PENDING: audit_entry("agent.deleted", agent_id, actor)},
        }
        is_new = await self._documents.update({"_id": key, "deleted": None}, change)
        if not is_new and not await self._agents.exists(workspace, agent_id):
            raise ApiError(Code.AGENT_NOT_FOUND)
        await self.finish_deletion(workspace, agent_id)

    async def finish_deletion(self, workspace: str, agent_id: str) -> None:
        """What a deletion leaves to do; the reconciler repeats it for one that was cut off."""
        key = agent_key(workspace, agent_id)
        for work in self._after:
            await work(workspace, agent_id)
        await self._documents.update({"_id": key}, {"$unset": {"endingSessions": ""}})
        if (row := await self._documents.one({"_id": key}, WITHOUT_DRAFT)) is not None:
            await self._audit.deliver(self._documents, row)

    async def reconcile(self, limit: int = 100) -> None:
        """Finishes what killed processes left: deletions, and audit entries that did not reach their collection."""
        for row in await self._documents.many({"endingSessions": True}, fields=WITHOUT_DRAFT, limit=limit):
            await self.finish_deletion(row["workspace"], row["agentId"])
        for row in await self._documents.many({f"{PENDING}.id": above("")}, fields=WITHOUT_DRAFT, limit=limit):
            await self._audit.deliver(self._documents, row)

    async def _delivered(self, workspace: str, agent_id: str) -> AgentRecord:
        row = await self._agents.document(workspace, agent_id)
        await self._audit.deliver(self._documents, row)
        return record_of(row)


def conflict(record: AgentRecord) -> ApiError:
    return ApiError(
        Code.VERSION_CONFLICT,
        f"The draft is at revision {record.revision} now. Read it again and repeat your change.",
        members={"currentRevision": record.revision},
    )


def _checked_slug(slug: str) -> str:
    if SLUG.fullmatch(slug) is None:
        message = (
            "A slug has 1 to 64 lower-case letters, digits and hyphens, and starts and ends with a letter or digit."
        )
        raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": "slug", "message": message}])
    return slug


def _proposed_slugs(name: str, agent_id: str) -> list[str]:
    """The name's own slug, then one that no other agent has."""
    slug = default_slug(name)
    return [slug, f"{slug}-{agent_id[-8:]}"]


def _slug_taken(slug: str) -> ApiError:
    message = f"Another agent of this workspace has the slug {slug!r}."
    return ApiError(Code.VALIDATION_FAILED, errors=[{"field": "slug", "message": message}])
