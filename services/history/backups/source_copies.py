"""Sources as they were before their passages were copied, and what became of them until the end of the backup."""

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from services.history.backups.order import SKEW, moment_id
from services.history.knowledge.source_documents import queued
from services.history.mongo.filters import Document

_GONE: Final = ("contentKey", "waiting", "dueAt", "refreshing")
_PREFIX: Final = "src"


class NewSources:
    """Tells the passages of sources that were added after the sources were read: nobody would erase them."""

    def __init__(self, now: datetime) -> None:
        self._from = moment_id(_PREFIX, now - SKEW)
        self._known: set[str] = set()

    def note(self, sources: Iterable[Document]) -> None:
        """Those that are copied. Only young ones are remembered."""
        self._known |= {row["_id"] for row in sources if row["_id"] >= self._from}

    def has(self, passage_id: str) -> bool:
        """Ids of passages name their source second, or an agent for those that came with a version."""
        owner = passage_id.split(":")[1]
        return owner.startswith(_PREFIX) and owner >= self._from and owner not in self._known


def as_copied(first: Document, last: Document | None, now: datetime) -> Document:
    """`first` was read before the passages and files, `last` after them; None: it was gone.

    What was erased meanwhile is erased again after a restore: its passages may have been copied, or not. What was read
    anew is read again: its passages may have been copied in part, so their attempts are used up.
    """
    if last is None or last.get("removed"):
        kept = {name: value for name, value in first.items() if name not in _GONE}
        is_purged = last is None or last.get("purge") or first.get("purge")
        return {**kept, "removed": True, "erasing": True, **({"purge": True} if is_purged else {})}
    if last["attempt"] == first["attempt"]:
        return first
    begun = range(first["attempt"], last["attempt"] + 1)
    stale = {*first.get("stale", ()), *begun} - {first.get("currentAttempt"), 0}
    return {**first, "attempt": last["attempt"], "stale": sorted(stale), "erasing": True, **queued(now)}


async def joined(first: Iterator[Document], last: AsyncIterator[list[Document]]) -> AsyncIterator[list[Document]]:
    """Each of `first`, beside its document of `last`. Both are in the order of their ids."""
    others = (row async for rows in last for row in rows)
    other = await anext(others, None)
    for row in first:
        while other is not None and other["_id"] < row["_id"]:
            other = await anext(others, None)
        found = other if other is not None and other["_id"] == row["_id"] else None
        yield [as_copied(row, found, datetime.now(UTC))]
