"""Erases all that is held of an end user: their sessions and their completions, in both stores.

The document of an erasure is its order and its receipt. It holds the end user's id only while the erasure runs.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.budgets.budgets import Budgets
from services.history.erasures.receipts import Receipts
from services.history.metrics import END_USERS_ERASED
from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.dialect import IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above, below, one_of
from services.history.sessions.sessions import Sessions
from services.history.turns.erasure import Erasure
from services.history.usage.ledger import Ledger
from shared.contracts.end_users import EndUserErasure, EraseEndUser
from shared.contracts.errors import ApiError, Code
from shared.ids import id_at
from shared.log import get_logger

log = get_logger()

ROUND_S: Final = 1.0
PAGE: Final = 50
AT_ONCE: Final = 8
# The clocks of gateways, which make the ids, may differ by this much.
SKEW: Final = timedelta(seconds=5)
ROUNDS: Final = 20
_IDS: Final = IdField("_id", "era")
_SESSIONS: Final = IdField("_id", "ses")
_COMPLETIONS: Final = IdField("_id", "trn")


class EndUserErasures:
    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        erasure: Erasure,
        ledger: Ledger,
        budgets: Budgets,
        audit: Audit,
    ) -> None:
        self._documents = database.end_user_erasures
        self._sessions_of = database.sessions
        self._turns = database.turns
        self._sessions = sessions
        self._erasure = erasure
        self._ledger = ledger
        self._budgets = budgets
        self._audit = audit
        self._receipts = Receipts(database.end_user_erasures, "running", "erased")

    async def request(self, workspace: str, order: EraseEndUser) -> EndUserErasure:
        """Begins the erasure; the reconciler completes it. May be repeated.

        An order that comes while the end user is being erased extends that erasure to what was begun before the order.
        """
        for _ in range(ROUNDS):
            now = datetime.now(UTC)
            running = {"workspace": workspace, "endUserId": order.end_user}
            await self._documents.update(running, {"$max": {"begunBefore": now + SKEW}})
            row = await self._documents.one(running) or await self._documents.one(
                {"_id": order.id, "workspace": workspace}
            )
            if row is not None:
                await self._audit.deliver(self._documents, row)
                return erasure_of(row)
            try:
                await self._documents.insert(_new(workspace, order, now))
            except Duplicate:
                continue  # Another request was faster, or this one was repeated.
        raise ApiError(Code.OVERLOADED)

    async def read(self, workspace: str, erasure_id: str) -> EndUserErasure:
        """Raises `not_found`."""
        row = await self._documents.one({"_id": erasure_id, "workspace": workspace})
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        return erasure_of(row)

    async def page(self, workspace: str, before: str | None, limit: int) -> tuple[list[EndUserErasure], str | None]:
        """The newest erasures with an id below `before`, and the id to continue from."""
        rows, following = await self._documents.page({"workspace": workspace}, _IDS, "desc", before, limit)
        return [erasure_of(row) for row in rows], following

    async def reconcile(self, limit: int = 20) -> None:
        """Goes on with every erasure for about a second. One that fails must not hold up the others."""
        for row in await self._documents.many({"running": True}, limit=limit):
            try:
                await self._step(row)
            except Exception as error:
                log.warning("end_user_erasure_postponed", erasure_id=row["_id"], error=type(error).__name__)
        for row in await self._documents.many({f"{PENDING}.id": above("")}, limit=limit):
            await self._audit.deliver(self._documents, row)

    async def _step(self, row: Document) -> None:
        until, found = time.monotonic() + ROUND_S, 0
        for erase in (self._erase_sessions, self._erase_completions):
            count = await erase(row)
            while count:
                found += count
                if time.monotonic() > until:
                    return
                count = await erase(row)
        found += await self._unfinished(row)
        await self._ledger.forget_end_user(row["workspace"], row["endUserId"])
        await self._budgets.forget_end_user(row["workspace"], row["endUserId"])
        entry = {"$push": {PENDING: audit_entry("end_user.erased", row["_id"], None)}}
        if await self._receipts.complete(row, found, forget=("endUserId", "begunBefore"), also=entry):
            END_USERS_ERASED.inc()
            log.info("end_user_erased", erasure_id=row["_id"])

    async def _erase_sessions(self, row: Document) -> int:
        workspace, ids = row["workspace"], await _begun(self._sessions_of, row, _SESSIONS)
        for start in range(0, len(ids), AT_ONCE):
            batch = ids[start : start + AT_ONCE]
            turns = await asyncio.gather(*(self._sessions.erase(workspace, session_id) for session_id in batch))
            await self._receipts.count(row["_id"], "sessions", len(batch))
            await self._receipts.count(row["_id"], "turns", sum(turns))
        return len(ids)

    async def _erase_completions(self, row: Document) -> int:
        workspace, ids = row["workspace"], await _begun(self._turns, row, _COMPLETIONS)
        for start in range(0, len(ids), AT_ONCE):
            batch = ids[start : start + AT_ONCE]
            await asyncio.gather(*(self._erasure.erase_completion(workspace, turn_id) for turn_id in batch))
            await self._receipts.count(row["_id"], "completions", len(batch))
        return len(ids)

    async def _unfinished(self, row: Document) -> bool:
        """Whether turns or marks are left in sessions whose erasure was cut off, or that a turn slipped into.

        The reconciler erases them. Such a session names nobody; its turns name the end user until they are erased.
        """
        workspace = row["workspace"]
        marked = {"erasing": True, "workspace": workspace, "deletedAt": below(row["begunBefore"])}
        if await self._sessions_of.many(marked, fields={"_id": 1}, limit=1):
            return True
        named = {"workspace": workspace, "endUserId": row["endUserId"]}
        turns, _ = await self._turns.page(named, _COMPLETIONS, "asc", None, PAGE, {"sessionId": 1})
        ids = sorted({turn["sessionId"] for turn in turns if turn.get("sessionId") is not None})
        deleted = {"_id": one_of(ids), "workspace": workspace, "status": "deleted"}
        return bool(ids and await self._sessions_of.many(deleted, fields={"_id": 1}, limit=1))


async def _begun(documents: Collection, row: Document, by: IdField) -> list[str]:
    """Ids of what the end user had begun before the order."""
    where: Document = {"workspace": row["workspace"], "endUserId": row["endUserId"]}
    if by is _COMPLETIONS:
        where["sessionId"] = None  # A session's turns go with their session.
    before = id_at(by.prefix, int(row["begunBefore"].timestamp() * 1000))
    rows, _ = await documents.page(where, by, "asc", None, PAGE, {"_id": 1}, high=before)
    return [found["_id"] for found in rows]


def _new(workspace: str, order: EraseEndUser, now: datetime) -> Document:
    return {
        "_id": order.id,
        "workspace": workspace,
        "endUserId": order.end_user,
        "running": True,
        "status": "erasing",
        "requestedAt": now,
        "begunBefore": now + SKEW,
        PENDING: [audit_entry("end_user.erasure_requested", order.id, order.actor)],
    }


def erasure_of(row: Document) -> EndUserErasure:
    return EndUserErasure.model_validate({**row, "id": row["_id"]})
