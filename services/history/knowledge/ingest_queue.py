"""The queue of sources that wait to be read: claimed under a lease, fenced by the attempt's number, and tried again.

The queue is the sources' own documents, so nothing is lost with a broker.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.history.knowledge.passages import Passages
from services.history.knowledge.readings import Readings
from services.history.knowledge.source_documents import absent, job_of, passages_owner, queued
from services.history.metrics import SOURCES_READ
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, up_to
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.knowledge import IngestedPassages, IngestJob, IngestOutcome, IngestProgress
from shared.log import get_logger

log = get_logger()

# Attempts whose worker died. More would let one file end every worker.
MAX_TRIES: Final = 5
CANDIDATES: Final = 8
PAGE: Final = 100
TOO_OFTEN: Final = "Reading it was given up: the process that read it ended five times."
TOO_LATE: Final = "It was not read within 24 hours. No ingest worker may be running."


class IngestQueue:
    def __init__(self, database: Database, passages: Passages, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._sources = database.sources
        self._passages = passages
        self._readings = Readings(database)

    async def claim(self, lease_s: float) -> IngestJob | None:
        """The source that has waited longest. None: nothing waits."""
        now = datetime.now(UTC)
        where = {"waiting": True, "dueAt": up_to(now)}
        for row in await self._sources.many(where, order=[("dueAt", 1)], limit=CANDIDATES):
            if row["tries"] >= MAX_TRIES:
                await self._fail(row, TOO_OFTEN)
            elif await self._claimed(row, now + timedelta(seconds=lease_s)):
                return job_of({**row, "attempt": row["attempt"] + 1})
        return None

    async def _claimed(self, row: Document, until: datetime) -> bool:
        """False: another worker was faster."""
        attempt = row["attempt"]
        change: Document = {
            "$set": {"state": "processing", "dueAt": until, "pages": 0, "passages": 0},
            "$inc": {"attempt": 1, "tries": 1},
        }
        if attempt and attempt != row.get("currentAttempt"):
            change["$addToSet"] = {"stale": attempt}
            change["$set"]["erasing"] = True
        return await self._sources.update(_held(row["_id"], attempt), change)

    async def renew(self, source_id: str, progress: IngestProgress) -> bool:
        """False: the lease is lost, and whatever the worker made must not be stored."""
        until = datetime.now(UTC) + timedelta(seconds=progress.lease_s)
        change = {"dueAt": until, "pages": progress.pages, "passages": progress.passages}
        return await self._sources.update(_held(source_id, progress.attempt), {"$set": change})

    async def add(self, source_id: str, batch: IngestedPassages) -> bool:
        """False: the lease is lost."""
        row = await self._sources.one(_held(source_id, batch.attempt), {"workspace": 1})
        if row is None:
            return False
        owner = passages_owner(row, batch.attempt)
        await self._passages.freeze(owner, batch.passages, start=batch.start)
        # Whoever took the lease or deleted the source meanwhile may have erased the reading before these came.
        if await self._readings.unnamed([owner]):
            await self._passages.erase(owner)
            return False
        return True

    async def finish(self, source_id: str, outcome: IngestOutcome) -> bool:
        """Ends the attempt. False: the lease was lost. May be repeated."""
        row = await self._sources.one({"_id": source_id})
        if row is None:
            raise absent()
        if row["attempt"] != outcome.attempt:
            return False
        if not row.get("waiting"):
            return row["state"] in ("indexed", "failed")
        if outcome.state == "failed":
            return await self._fail(row, outcome.reason or "It cannot be read.")
        if outcome.state == "requeued":
            return await self._requeue(row, outcome)
        return await self._indexed(row, outcome)

    async def _indexed(self, row: Document, outcome: IngestOutcome) -> bool:
        now = datetime.now(UTC)
        members: dict[str, Any] = {"state": "indexed", "indexedAt": now, "updatedAt": now, **_refresh(row, now)}
        change: Document = {"$unset": {"waiting": "", "dueAt": "", "reason": ""}}
        if outcome.state == "unchanged":
            members |= {"passages": row.get("passageCount", 0)}
        else:
            members |= {"currentAttempt": outcome.attempt, "passageCount": outcome.passages}
            members |= {"passages": outcome.passages, "pages": outcome.pages, "etag": outcome.etag}
            if outcome.title and not row.get("isTitleGiven"):
                members["title"] = outcome.title
            if row.get("currentAttempt"):
                change["$addToSet"] = {"stale": row["currentAttempt"]}
                members["erasing"] = True
        change = {"$set": members, **change}
        if outcome.state != "unchanged":
            change = self._subscriptions.pushed(change, row["workspace"], "knowledge.indexed")
        done = await self._sources.update(_held(row["_id"], row["attempt"]), change)
        if done:
            SOURCES_READ.labels("indexed").inc()
            log.info("source_indexed", source_id=row["_id"], passages=members["passages"])
        return done

    async def _fail(self, row: Document, reason: str) -> bool:
        """A source that was read before keeps what it has; the reason says that its re-reading failed."""
        now = datetime.now(UTC)
        members: dict[str, Any] = {"state": "failed", "reason": reason, "updatedAt": now, "erasing": True}
        if row.get("currentAttempt"):
            kept = {"state": "indexed", "passages": row["passageCount"], "reason": f"Not read again: {reason}"}
            members |= {**kept, **_refresh(row, now)}
        change: Document = {"$set": members, "$unset": {"waiting": "", "dueAt": ""}}
        if row["attempt"] and row["attempt"] != row.get("currentAttempt"):
            change["$addToSet"] = {"stale": row["attempt"]}
        change = self._subscriptions.pushed(change, row["workspace"], "knowledge.failed", reason=members["reason"])
        done = await self._sources.update(_held(row["_id"], row["attempt"]), change)
        if done:
            SOURCES_READ.labels("failed").inc()
            log.info("source_failed", source_id=row["_id"])
        return done

    async def _requeue(self, row: Document, outcome: IngestOutcome) -> bool:
        due = datetime.now(UTC) + timedelta(seconds=outcome.delay_s)
        tries = row["tries"] if outcome.counts else max(0, row["tries"] - 1)
        change = {"state": "pending", "dueAt": due, "tries": tries}
        return await self._sources.update(_held(row["_id"], row["attempt"]), {"$set": change})

    async def reconcile(self) -> None:
        """Sources that nobody read in time fail; those whose refresh is due are queued."""
        now = datetime.now(UTC)
        for row in await self._sources.many({"waiting": True, "deadlineAt": up_to(now)}, limit=PAGE):
            if row["dueAt"] <= now:
                await self._fail(row, TOO_LATE)
        for row in await self._sources.many({"refreshing": True, "refreshAt": up_to(now)}, limit=PAGE):
            change = {"$set": queued(now), "$unset": {"refreshing": ""}}
            await self._sources.update({"_id": row["_id"], "waiting": None, "removed": None}, change)


def _held(source_id: str, attempt: int) -> dict[str, Any]:
    return {"_id": source_id, "attempt": attempt, "waiting": True}


def _refresh(row: Document, now: datetime) -> Document:
    hours = row.get("refreshHours")
    return {"refreshing": True, "refreshAt": now + timedelta(hours=hours)} if hours else {}
