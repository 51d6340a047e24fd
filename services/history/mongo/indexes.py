"""Every index, by collection. Each query of the product has one here; each unique index states a rule of the data."""

from typing import Final, NamedTuple

import pymongo
from pymongo import IndexModel

from services.history.mongo.filters import Document
from shared.contracts.webhooks import TEST_EVENT


class Index(NamedTuple):
    """`partial`: only documents that match it are indexed.

    `expires`: MongoDB deletes a document at the time of its first key.
    """

    keys: tuple[str, ...]
    unique: bool = False
    partial: Document | None = None
    name: str | None = None
    expires: bool = False


_PRESENT: Final = {"$exists": True}
# The words of what was said. Built only where transcripts are searched.
TRANSCRIPT_WORDS: Final = "transcript_words"

INDEXES: Final[dict[str, tuple[Index, ...]]] = {
    # Of the indexes that serve one page, the last is the most selective. A dialect may go by this order.
    "sessions": (
        Index(("workspace", "_id")),
        Index(("workspace", "status", "_id")),
        Index(("workspace", "agentId", "_id")),
        Index(("workspace", "agentId", "agentVersion", "_id")),
        Index(("workspace", "labels", "_id"), partial={"labels": _PRESENT}, name="session_metadata"),
        Index(("workspace", "endUserId", "_id"), partial={"endUserId": _PRESENT}, name="session_end_user"),
        Index(("workspace", "agentId", "clientId"), unique=True, partial={"clientId": _PRESENT}, name="client_id"),
        Index(("workspace", "agentId", "status"), partial={"status": "active"}, name="active_of_agent"),
        Index(("workspace", "agentId", "lastMessageAt"), partial={"lastMessageAt": _PRESENT}, name="last_messages"),
        Index(("workspace", "agentId", "emptySince"), partial={"emptySince": _PRESENT}, name="without_messages"),
        Index(("erasing",), partial={"erasing": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
        Index(("unsent.id",), partial={"unsent.id": _PRESENT}, name="unsent"),
    ),
    "turns": (
        Index(
            ("workspace", "sessionId"),
            unique=True,
            partial={"active": True, "sessionId": _PRESENT},
            name="one_active_turn_per_session",
        ),
        Index(("workspace", "sessionId", "n"), unique=True, partial={"sessionId": _PRESENT}, name="turn_number"),
        Index(
            ("workspace", "scope", "idempotencyKey"),
            unique=True,
            partial={"idempotencyKey": _PRESENT},
            name="idempotency_key",
        ),
        Index(("workspace", "retryKey", "_id"), partial={"retryKey": _PRESENT}, name="retry_key"),
        Index(("workspace", "orphan"), unique=True, partial={"orphan": _PRESENT}, name="one_orphan_per_retry_key"),
        Index(("workspace", "storedId"), partial={"storedId": _PRESENT}, name="stored_completions"),
        Index(("workspace", "agentId", "storedId"), partial={"storedId": _PRESENT}, name="stored_completions_of_agent"),
        Index(("workspace", "agentId", "gapId"), partial={"gapId": _PRESENT}, name="knowledge_gaps"),
        Index(("workspace", "feedbackId"), partial={"feedbackId": _PRESENT}, name="feedback"),
        Index(("workspace", "words", "place"), partial={"place": _PRESENT}, name=TRANSCRIPT_WORDS),
        Index(("unindexed",), partial={"unindexed": True}),
        Index(("workspace", "endUserId", "_id"), partial={"endUserId": _PRESENT}, name="completion_end_user"),
        Index(("active", "_id"), partial={"active": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
        Index(("erasable", "endedAt"), partial={"erasable": True}),
        Index(("unbilled", "_id"), partial={"unbilled": True}, name="unbilled_by_age"),
        Index(("unbilled", "workspace", "_id"), partial={"unbilled": True}, name="unbilled_of_workspace"),
        Index(("expiresAt",), expires=True),
        Index(("unsent.id",), partial={"unsent.id": _PRESENT}, name="unsent"),
    ),
    "agents": (
        Index(("workspace", "agentId")),
        Index(("workspace", "slug"), unique=True, partial={"slug": _PRESENT}, name="slug"),
        Index(("workspace", "createKey"), unique=True, partial={"createKey": _PRESENT}, name="create_key"),
        Index(("endingSessions",), partial={"endingSessions": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
        Index(("unsent.id",), partial={"unsent.id": _PRESENT}, name="unsent"),
    ),
    "agent_versions": (
        Index(("agent", "number"), unique=True),
        Index(("agent", "publishKey"), unique=True, partial={"publishKey": _PRESENT}, name="publish_key"),
        Index(("preparing", "createdAt"), partial={"preparing": True}),
        Index(("sourceIds",), partial={"sourceIds": _PRESENT}, name="holders_of_sources"),
    ),
    "check_suites": (Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),),
    "check_runs": (
        Index(("workspace", "agentId", "_id")),
        Index(("workspace", "agentId", "version", "_id")),
        Index(("workspace", "agentId", "runKey"), unique=True, partial={"runKey": _PRESENT}, name="run_key"),
        Index(("workspace", "active"), partial={"active": True}, name="active_of_workspace"),
        Index(("active", "_id"), partial={"active": True}),
        Index(("expiresAt",), expires=True),
    ),
    "audit": (Index(("workspace", "_id")),),
    "passages": (Index(("version", "position"), unique=True),),
    "keys": (
        Index(("digest",), unique=True),
        Index(("oldDigest",), unique=True, partial={"oldDigest": _PRESENT}, name="old_digest"),
        Index(("workspace", "agentId", "_id")),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
    ),
    "workspaces": (
        Index(("deleting",), partial={"deleting": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
    ),
    "budgets": (
        Index(("workspace", "_id")),
        Index(("removed",), partial={"removed": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
        Index(("unsent.id",), partial={"unsent.id": _PRESENT}, name="unsent"),
    ),
    "end_user_erasures": (
        Index(("workspace", "_id")),
        Index(("workspace", "endUserId"), unique=True, partial={"endUserId": _PRESENT}, name="one_erasure_at_a_time"),
        Index(("running",), partial={"running": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
    ),
    "erased_logs": (Index(("dueAt",)),),
    "sources": (
        Index(("workspace", "agentId", "_id")),
        Index(
            ("workspace", "agentId", "contentKey"),
            unique=True,
            partial={"contentKey": _PRESENT},
            name="one_source_per_content",
        ),
        Index(("waiting", "dueAt"), partial={"waiting": True}),
        Index(("erasing",), partial={"erasing": True}),
        Index(("refreshing", "refreshAt"), partial={"refreshing": True}),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
        Index(("unsent.id",), partial={"unsent.id": _PRESENT}, name="unsent"),
    ),
    "indexes": (
        Index(("agent",)),
        Index(("key",)),
        Index(("workspace", "blobs")),
        Index(("waiting", "dueAt"), partial={"waiting": True}),
        Index(("erasing",), partial={"erasing": True}),
    ),
    "webhooks": (
        Index(("workspace", "_id")),
        Index(("unaudited.id",), partial={"unaudited.id": _PRESENT}, name="unaudited"),
    ),
    "webhook_deliveries": (
        Index(("workspace", "endpoint", "eventId")),
        Index(("workspace", "endpoint", "state", "eventId")),
        Index(("endpoint", "lane", "rank"), partial={"waiting": True}, name="lanes"),
        Index(("waiting", "endpoint", "dueAt", "workspace"), partial={"waiting": True}, name="queue"),
        Index(("type", "waiting"), partial={"type": TEST_EVENT}, name="tests"),
        Index(("expiresAt",), expires=True),
    ),
    "vectors": (Index(("workspace",)),),
}

# Indexes of earlier code. They are dropped once those above exist.
RETIRED: Final[dict[str, tuple[str, ...]]] = {
    "webhook_deliveries": ("waiting_1_dueAt_1", "waiting_1_dueAt_1_endpoint_1_workspace_1"),
    "sessions": ("workspace_1_id_1", "workspace_1_agentId_1_id_1"),
    "turns": (
        "one_active_per_session",
        "workspace_1_sessionId_1_n_1",
        "workspace_1_scope_1_idempotencyKey_1",
        "workspace_1_retryKey_1__id_1",
        "workspace_1_orphan_1",
        "workspace_1_storedId_1",
        "unbilled",
    ),
    "agents": ("workspace_1",),
    "keys": ("workspace_1",),
}


def index_model(index: Index) -> IndexModel:
    options: Document = {"unique": True} if index.unique else {}
    if index.partial is not None:
        options["partialFilterExpression"] = index.partial
    if index.name is not None:
        options["name"] = index.name
    if index.expires:
        options["expireAfterSeconds"] = 0
    return IndexModel([(key, pymongo.ASCENDING) for key in index.keys], **options)
