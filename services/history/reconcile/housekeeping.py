"""Housekeeping: what has to go is erased, page by page: texts of completions, deleted sessions, dead consumers."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.exceptions import RedisError

from services.history.mongo.client import Database
from services.history.mongo.filters import one_of, up_to
from services.history.reconcile.outbox import Outbox
from services.history.settings import HistorySettings
from services.history.turns.erasure import Erasure
from shared.contracts.errors import ApiError
from shared.log import get_logger

log = get_logger()

PAGE: Final = 500
ERASE_PAGE: Final = 200
REMOVE_CONSUMERS_EVERY_S: Final = 600.0


Repair = Callable[[], Awaitable[None]]
"""Finishes what a killed process left undone in one noun's documents.

It may be repeated, and run by several processes.
"""


class Housekeeping:
    """Each step may be repeated, and run by several processes at once. `repairs` are those of the nouns."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        erasure: Erasure,
        settings: HistorySettings,
        repairs: Sequence[Repair] = (),
    ) -> None:
        self._repairs = repairs
        self._turns = database.turns
        self._sessions = database.sessions
        self._outbox = outbox
        self._erasure = erasure
        self._settings = settings
        self._consumers_from = time.monotonic() + REMOVE_CONSUMERS_EVERY_S

    async def round(self, stopping: Callable[[], bool]) -> None:
        """Raises ApiError, RedisError or OSError while a store is away."""
        await self._erase_completions(stopping)
        await self._erase_sessions()
        for repair in self._repairs:
            await self._repair(repair)
        if time.monotonic() > self._consumers_from:
            self._consumers_from = time.monotonic() + REMOVE_CONSUMERS_EVERY_S
            await self._outbox.remove_dead()

    async def _repair(self, repair: Repair) -> None:
        """One noun's fault must not hold up the others."""
        try:
            await repair()
        except (ApiError, RedisError, OSError) as error:
            log.warning("repair_postponed", repair=repair.__qualname__, error=str(getattr(error, "code", type(error))))

    async def _erase_completions(self, stopping: Callable[[], bool]) -> None:
        """Completions that nobody asked to store: their texts go, their digest and usage stay for a while."""
        now = datetime.now(UTC)
        due = up_to(now - timedelta(seconds=self._settings.log_keep_s))
        change = {
            "$set": {
                "erased": True,
                "input": [],
                "output": [],
                "checkedInput": None,
                "expiresAt": now + timedelta(seconds=self._settings.completion_keep_s),
            },
            "$unset": {"completion": "", "metadata": "", "erasable": ""},
        }
        count = ERASE_PAGE
        while count == ERASE_PAGE and not stopping():
            rows = await self._turns.many({"erasable": True, "endedAt": due}, fields={"_id": 1}, limit=ERASE_PAGE)
            count = len(rows)
            if rows:
                await self._turns.update_all({"_id": one_of([row["_id"] for row in rows]), "erasable": True}, change)

    async def _erase_sessions(self) -> None:
        """Completes deletions that were interrupted."""
        for row in await self._sessions.many({"erasing": True}, fields={"workspace": 1}, limit=PAGE):
            try:
                await self._erasure.erase_session(row["workspace"], row["_id"])
            except (ApiError, RedisError, OSError) as error:
                # One session whose logs cannot be reached must not hold up the others.
                log.warning("erasure_postponed", session_id=row["_id"], error=type(error).__name__)
            except Exception:
                log.exception("erasure_failed", session_id=row["_id"])
