"""The queue of search indexes that have to be built: claimed under a lease, fenced by the attempt, tried again.

It is the sets' own documents, as the sources' queue is theirs.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.metrics import INDEX_BUILDS
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, up_to
from shared.contracts.indexes import IndexJob, IndexLease, IndexOutcome
from shared.knowledge_notices import KnowledgeNotices
from shared.log import get_logger

log = get_logger()

MAX_TRIES: Final = 5
CANDIDATES: Final = 8


class IndexQueue:
    def __init__(self, database: Database, notices: KnowledgeNotices) -> None:
        self._indexes = database.indexes
        self._versions = database.agent_versions
        self._notices = notices

    async def claim(self, lease_s: float) -> IndexJob | None:
        """The set that has waited longest. None: nothing waits."""
        await self._notices.builder_seen()
        now = datetime.now(UTC)
        where = {"waiting": True, "dueAt": up_to(now)}
        for row in await self._indexes.many(where, order=[("dueAt", 1)], limit=CANDIDATES):
            if row["tries"] >= MAX_TRIES or row["deadlineAt"] <= now:
                await self._end(row, "failed")
                continue
            change = {
                "$set": {"dueAt": now + timedelta(seconds=lease_s)},
                "$inc": {"attempt": 1, "tries": 1},
            }
            if await self._indexes.update(_held(row["_id"], row["attempt"]), change):
                return IndexJob.model_validate({**row, "attempt": row["attempt"] + 1})
        return None

    async def renew(self, workspace: str, key: str, lease: IndexLease) -> bool:
        """False: the lease is lost."""
        change = {"$set": {"dueAt": datetime.now(UTC) + timedelta(seconds=lease.lease_s)}}
        return await self._indexes.update(_held(f"{workspace}:{key}", lease.attempt), change)

    async def finish(self, workspace: str, key: str, outcome: IndexOutcome) -> str | None:
        """Ends the attempt, and returns the agent's id. None: the lease was lost. May be repeated."""
        row = await self._indexes.one({"_id": f"{workspace}:{key}"})
        if row is None or row["attempt"] != outcome.attempt:
            return None
        if row.get("waiting"):
            done = await self._end(row, "built") if outcome.state == "built" else await self._requeue(row, outcome)
            if not done:
                return None
        return str(row["agentId"])

    async def _end(self, row: Document, state: str) -> bool:
        change = {"$set": {"state": state}, "$unset": {"waiting": "", "dueAt": ""}}
        done = await self._indexes.update(_held(row["_id"], row["attempt"]), change)
        if done:
            INDEX_BUILDS.labels(state).inc()
            log.info("index_build_ended", agent_id=row["agentId"], version=row["version"], state=state)
        if done and state == "built":
            late = {"agent": row["agent"], "indexKey": row["key"], "indexState": "first_use"}
            await self._versions.update_all(late, {"$set": {"indexState": "built"}})
        return done

    async def _requeue(self, row: Document, outcome: IndexOutcome) -> bool:
        due = datetime.now(UTC) + timedelta(seconds=outcome.delay_s)
        tries = row["tries"] if outcome.counts else max(0, row["tries"] - 1)
        return await self._indexes.update(_held(row["_id"], row["attempt"]), {"$set": {"dueAt": due, "tries": tries}})


def _held(index_id: str, attempt: int) -> Document:
    return {"_id": index_id, "attempt": attempt, "waiting": True}
