"""The ledger: a document per day, agent, key and model, to which each ended turn is added exactly once.

A turn's document says `unbilled` from the update that ends it until the ledger has it. The ledger's document keeps the
ids of the turns that were added last: adding and noting the id are one update, so a repeat adds nothing. Turns may be
erased afterwards; what they have used stays, without content.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.dialect import IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, Where, between, none_of, one_of
from services.history.usage.entries import READ, Entry, end_user_prefix, entries_of, summed
from shared.contracts.errors import ApiError, Code
from shared.ids import time_of

PAGE: Final = 200
# An id is kept for longer than any process works on a page of turns that it has read.
KEPT: Final = timedelta(seconds=60)
WORKS_FOR_S: Final = 20.0
# When the ledger had taken a turn: a backup decides by it which of its turns its copy of the ledger lacks.
BILLED_AT: Final = "billedAt"
MOST_COUNTED: Final = 10_000
_BY_AGE: Final = IdField("_id", "trn")


class Backlog(NamedTuple):
    """Ended turns that the ledger lacks, all of which ended on `exact_before` (UTC) or later."""

    turns: int
    exact_before: date


def _unbilled(workspace: str | None) -> Where:
    return {"unbilled": True} if workspace is None else {"unbilled": True, "workspace": workspace}


class Ledger:
    """Every method may be repeated, and be run by several processes at once."""

    def __init__(self, database: Database) -> None:
        self._turns = database.turns
        self._days = database.usage_days
        self._end_users = database.end_user_usage_days

    async def reconcile(self) -> None:
        await self.bill()

    async def bill(self, workspace: str | None = None) -> bool:
        """Adds the turns that are not in the ledger yet. `workspace` None: of all.

        False: a page took longer than `WORKS_FOR_S`, and the rest is left. It may be cancelled at any point.
        """
        where = _unbilled(workspace)
        # A page in any order is one read, which is enough as a rule. A backlog is read in the order of its ids.
        rows = await self._turns.many(where, fields=READ, limit=PAGE)
        if not await self._bill(rows):
            return False
        after = None
        while len(rows) == PAGE:
            rows, after = await self._turns.page(where, _BY_AGE, "asc", after, PAGE, READ)
            if not await self._bill(rows):
                return False
        return True

    async def must_bill(self, workspace: str) -> None:
        """For callers that need every turn of the workspace that has ended before the call.

        Raises ApiError(`dependency_unavailable`) if there was no time for all of them.
        """
        if not await self.bill(workspace):
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The sums of usage lack turns that have ended.")

    async def backlog(self, workspace: str) -> Backlog | None:
        """What is not in the ledger yet; None if all is. No more than `MOST_COUNTED` turns are counted."""
        # One read of ids alone, in the order of an index: the embedded database reads a whole backlog for any of it.
        order = [("_id", 1)]
        rows = await self._turns.many(_unbilled(workspace), fields={"_id": 1}, order=order, limit=MOST_COUNTED)
        if not rows:
            return None
        # A turn ends after its id was made.
        oldest = datetime.fromtimestamp(time_of(rows[0]["_id"]) / 1000, UTC)
        return Backlog(len(rows), oldest.date())

    async def _bill(self, rows: Sequence[Document]) -> bool:
        """False: it took too long, so the rest is left to the next call."""
        until = time.monotonic() + WORKS_FOR_S
        by_document: dict[tuple[bool, str], list[Entry]] = defaultdict(list)
        for row in rows:
            for entry in entries_of(row):
                by_document["endUserId" in entry.identity, entry.id].append(entry)
        left: set[str] = set()
        for (of_end_user, _), entries in by_document.items():
            left |= await self._add(self._end_users if of_end_user else self._days, entries, until)
        if billed := [row["_id"] for row in rows if row["_id"] not in left]:
            change = {"$unset": {"unbilled": ""}, "$set": {BILLED_AT: datetime.now(UTC)}}
            await self._turns.update_all({"_id": one_of(billed), "unbilled": True}, change)
        return not left

    async def _add(self, documents: Collection, entries: Sequence[Entry], until: float) -> set[str]:
        """The turns for which there was no time. They may be added already."""
        name, workspace = entries[0].id, entries[0].id.partition(":")[0]
        turns = {entry.turn_id for entry in entries}
        while turns and time.monotonic() < until:
            now = datetime.now(UTC)
            fresh = [entry for entry in entries if entry.turn_id in turns]
            change = {
                "$inc": {counter: count for counter, count in summed(entry.counts for entry in fresh).items() if count},
                "$push": {"billed": {"$each": [{"id": turn, "at": now} for turn in sorted(turns)]}},
            }
            if not change["$inc"]:
                del change["$inc"]
            if await documents.update({"_id": name, "billed.id": none_of(sorted(turns))}, change):
                await self._forget_billed(documents, name, now - KEPT)
                return set()
            turns = await self._not_billed(documents, name, turns, {**entries[0].identity, "workspace": workspace})
        return turns

    async def _forget_billed(self, documents: Collection, name: str, before: datetime) -> None:
        """Forgets ids that were added before then.

        One whose turn still says `unbilled` stays, however old it is: a process was killed or had no time left before
        it marked the turn, so the turn will be read again.
        """
        row = await documents.one({"_id": name}, {"billed": 1}) or {}
        old = [each["id"] for each in row.get("billed", ()) if each["at"] < before]
        if not old:
            return
        unmarked = await self._turns.many({"_id": one_of(old), "unbilled": True}, fields={"_id": 1}, limit=len(old))
        done = sorted({*old} - {turn["_id"] for turn in unmarked})
        await documents.update({"_id": name}, {"$pull": {"billed": {"id": {"$in": done}}}})

    async def _not_billed(self, documents: Collection, name: str, turns: set[str], identity: Document) -> set[str]:
        """Those of the turns that the document lacks. It is made if it does not exist."""
        row = await documents.one({"_id": name}, {"billed": 1})
        if row is None:
            if "endUserId" in identity and not await self._still_names(turns, identity["endUserId"]):
                return set()
            try:
                await documents.insert({"_id": name, **identity, "billed": []})
            except Duplicate:
                row = await documents.one({"_id": name}, {"billed": 1})
        return turns - {each["id"] for each in (row or {}).get("billed", ())}

    async def _still_names(self, turns: set[str], end_user: str) -> bool:
        """Whether any of the turns has its end user yet. An erasure may take both away while a page is worked on."""
        where = {"_id": one_of(sorted(turns)), "endUserId": end_user}
        return await self._turns.one(where, {"_id": 1}) is not None

    async def rows(
        self, workspace: str, first: str, last: str, end_user: str | None = None, *, with_turns: bool = False
    ) -> list[Document]:
        """The documents of the days from `first` to `last`, both included.

        `with_turns`: with the ids of the turns that were added last.
        """
        prefix = f"{workspace}:" if end_user is None else end_user_prefix(workspace, end_user)
        documents = self._days if end_user is None else self._end_users
        ids = between(prefix + first, f"{prefix}{last};")
        return await documents.many({"_id": ids}, fields=None if with_turns else {"billed": 0}, order=[("_id", 1)])

    async def forget_end_user(self, workspace: str, end_user: str) -> None:
        """Erases what is kept by the end user's name. The sums by agent, key, model and day do not know it."""
        await self.must_bill(workspace)
        prefix = end_user_prefix(workspace, end_user)
        await self._end_users.delete_all({"_id": between(prefix, f"{prefix[:-1]};")})
