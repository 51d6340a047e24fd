"""In which order the collections are read, and why no single moment is needed for a backup that holds together.

Whatever is written in several steps may be cut off between any two of them, and the reconciler goes on from there. So
collections are read in the opposite order of those steps: what a later step wrote is read first. The copy then looks
like the documents after a process was killed. Turns are read before the sessions that count them, agents before their
versions, versions before the sources and passages that they name, everything before the audit entries and the
deliveries that its documents still carry. Blobs come last: a document names a blob only once it is stored. What no
order can give has a file of its own: `billing.py`, `erasure_watch.py`, `source_copies.py`.

Erasures take away children first. Those that were completed during the backup begin again after a restore
(`reopened`), since what they erased may have been copied before.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from services.history.mongo.filters import Document
from shared.ids import id_at

# Gateways make the ids of turns and sessions, and their clocks may differ.
SKEW: Final = timedelta(seconds=10)


class Copied(NamedTuple):
    """`prefix`: of ids that sort by time. What begins while the collection is copied is left out, so the copy ends."""

    name: str
    prefix: str | None = None

    def below(self, now: datetime) -> str | None:
        """The first id that is left out."""
        return moment_id(self.prefix, now + SKEW) if self.prefix is not None else None


def moment_id(prefix: str, at: datetime) -> str:
    return id_at(prefix, int(at.timestamp() * 1000))


ORDER: Final[Sequence[Copied]] = (
    Copied("backfills"),
    Copied("usage_days"),
    Copied("end_user_usage_days"),
    Copied("check_runs"),
    Copied("turns", "trn"),
    Copied("sessions", "ses"),
    Copied("check_suites"),
    Copied("agents"),
    Copied("agent_versions"),
    Copied("indexes"),
    Copied("vectors"),
    Copied("sources"),
    Copied("passages"),
    Copied("budgets"),
    Copied("keys"),
    Copied("webhooks"),
    Copied("end_user_erasures"),
    Copied("workspaces"),
    Copied("webhook_deliveries"),
    Copied("audit"),
)
# Documents of the process itself, of which a restored database has its own, and notes of what to erase from Redis,
# which is not backed up.
NOT_COPIED: Final = frozenset({"restores", "erased_logs"})


def reopened(collection: str, document: Document, started_at: datetime) -> Document:
    """The document as it is written into the backup: an erasure of after the beginning is marked as under way."""
    since = started_at - SKEW
    if collection == "sessions" and _is_since(document, "deletedAt", since):
        return {**document, "erasing": True}
    if collection == "agents" and document.get("deleted") and _is_since(document, "updatedAt", since):
        return {**document, "endingSessions": True}
    if collection == "workspaces" and _is_since(document, "completedAt", since):
        begun = {name: value for name, value in document.items() if name != "completedAt"}
        return {**begun, "status": "deleting", "deleting": True}
    return document


def _is_since(document: Document, member: str, since: datetime) -> bool:
    at = document.get(member)
    return at is not None and bool(at >= since)
