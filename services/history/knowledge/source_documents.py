"""The documents of sources: how they are made, read and queued. Pure."""

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import IngestJob, NewSource, Source

# A source that no worker has read until then fails.
DEADLINE: Final = timedelta(hours=24)
# The kinds of sources that a worker reads from their URL. Of others the URL is what citations point to.
READ_FROM_URL: Final = ("url", "sitemap")


def passages_owner(row: Document, attempt: int) -> str:
    """Under this name the passages of one reading are stored. It begins with the workspace, like all ids that do."""
    return f"{row['workspace']}:{row['_id']}:{attempt}"


def source_of_owner(owner: str) -> str:
    """The source's id. Empty for the passages that an operator gave a version."""
    source_id = owner.split(":")[1]
    return source_id if source_id.startswith("src_") else ""


def named_readings(row: Document) -> set[str]:
    """The owners of passages that a source itself names. Of a deleted one only versions may hold any."""
    if row.get("removed"):
        return set()
    attempts = {row.get("currentAttempt"), row["attempt"] if row.get("waiting") else None, *row.get("stale", ())}
    return {passages_owner(row, attempt) for attempt in attempts if attempt}


def source_of(row: Document) -> Source:
    return Source.model_validate({**row, "id": row["_id"]})


def job_of(row: Document) -> IngestJob:
    return IngestJob.model_validate({**row, "sourceId": row["_id"]})


def queued(now: datetime, traceparent: str = "") -> Document:
    """The members of a source that waits for a worker. `traceparent`: the span of the request that asks for it."""
    due = {"dueAt": now, "deadlineAt": now + DEADLINE, "tries": 0}
    return {"state": "pending", "waiting": True, **due, "traceparent": traceparent}


def new_document(
    workspace: str, agent_id: str, order: NewSource, digest: str, size: int, now: datetime, traceparent: str = ""
) -> Document:
    """It is marked for the erasure until its agent was seen after the insert: that may be deleted meanwhile."""
    return {
        "_id": order.id,
        "erasing": True,
        "workspace": workspace,
        "agentId": agent_id,
        **order.model_dump(mode="json", by_alias=True, include=_KEPT, exclude_none=True),
        "contentKey": content_key(order, digest),
        "title": order.title or order.file_name or order.url or "",
        "isTitleGiven": bool(order.title),
        "size": size,
        "attempt": 0,
        "pages": 0,
        "passages": 0,
        "createdAt": now,
        "updatedAt": now,
        **queued(now, traceparent),
    }


# What a source loses that is removed: it is not read any more, and its content may be added again.
OF_PRESENT: Final = {"contentKey": "", "waiting": "", "dueAt": "", "refreshing": ""}


def purged(now: datetime) -> Document:
    """The change that takes a source from everything that has it. The reconciler then erases it."""
    return {"$set": {"removed": True, "erasing": True, "purge": True, "updatedAt": now}, "$unset": OF_PRESENT}


_KEPT: Final = {"kind", "url", "tags", "refresh_hours", "file_name", "content_type"}


def content_key(order: NewSource, digest: str) -> str:
    """The same content is the same source: equal bytes of one kind, or one address."""
    if order.kind in READ_FROM_URL:
        return f"{order.kind}:{hashlib.sha256((order.url or '').encode()).hexdigest()}"
    return f"{order.kind}:{digest}"


def absent() -> ApiError:
    return ApiError(Code.NOT_FOUND, "This agent has no such source.")


def entry_of(row: Document) -> Document:
    """What a version keeps of a source."""
    entry: dict[str, Any] = {
        "id": row["_id"],
        "owner": passages_owner(row, row["currentAttempt"]),
        "count": row["passageCount"],
        "title": row["title"],
    }
    return entry | ({"url": row["url"]} if row.get("url") else {})
