"""Which limits apply to a turn: those of stored budgets, and those of the key's own record.

They are kept for a second per workspace, so a change reaches turns that other histories admit a second later.
"""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from cachetools import TTLCache

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, above
from shared.budgets.counters import Counter
from shared.budgets.periods import Period, PeriodKind
from shared.budgets.store import Limit
from shared.contracts.budgets import Subject
from shared.contracts.usage import NANO
from shared.single_flight import SingleFlight

KEPT_S: Final = 1.0
WORKSPACES: Final = 1000
MAX_BUDGETS: Final = 1000
PERIODS: Final[tuple[PeriodKind, ...]] = ("day", "month")


class Parties(NamedTuple):
    """On whose account a turn runs."""

    workspace: str
    agent_id: str
    key_id: str | None = None
    end_user: str | None = None

    def has(self, subject: Subject) -> bool:
        ids = {"workspace": "", "agent": self.agent_id, "key": self.key_id, "endUser": self.end_user}
        return ids[subject.kind] == subject.id


def parties_of(row: Document) -> Parties:
    """Of a turn's document."""
    return Parties(row["workspace"], row["agentId"], row.get("keyId"), row.get("endUserId"))


class StoredLimits(NamedTuple):
    """A subject's limits before a period is named: by kind of period, tokens and billionths of cost."""

    subject: Subject
    source: str
    revision: int
    limits: dict[PeriodKind, tuple[int | None, int | None]]

    def at(self, workspace: str, moment: datetime) -> list[Limit]:
        return [
            Limit(Counter(workspace, self.subject, self.source, Period.of(kind, moment)), tokens, cost, self.revision)
            for kind, (tokens, cost) in self.limits.items()
        ]


def stored_limits(row: Document) -> StoredLimits:
    """Of a budget's document."""
    limits: dict[PeriodKind, tuple[int | None, int | None]] = {}
    for kind in PERIODS:
        if given := row.get(kind):
            limits[kind] = given.get("tokens"), given.get("cost")
    return StoredLimits(Subject(row["kind"], row["subjectId"]), "budget", row["revision"], limits)


def cost_nano(cost: float | None) -> int | None:
    return None if cost is None else round(cost * NANO)


class Limits:
    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._budgets = database.budgets
        self._keys = database.keys
        self._kept = TTLCache[str, tuple[StoredLimits, ...]](WORKSPACES, KEPT_S, timer=clock)
        self._flight: SingleFlight[str, tuple[StoredLimits, ...]] = SingleFlight()

    async def of(self, parties: Parties, moment: datetime) -> list[Limit]:
        stored = self._kept.get(parties.workspace)
        if stored is None:
            stored = await self._flight.run(parties.workspace, lambda: self._read(parties.workspace))
        return [limit for each in stored if parties.has(each.subject) for limit in each.at(parties.workspace, moment)]

    def forget(self, workspace: str) -> None:
        self._flight.forget(workspace)
        self._kept.pop(workspace, None)

    async def _read(self, workspace: str) -> tuple[StoredLimits, ...]:
        budgets = await self._budgets.many({"workspace": workspace}, limit=MAX_BUDGETS)
        where: dict[str, Any] = {"workspace": workspace, "dailyTokens": above(0)}
        fields = {"dailyTokens": 1, "dailyTokensAt": 1, "revokedAt": 1}
        keys = await self._keys.many(where, fields=fields, limit=MAX_BUDGETS)
        found = (*map(stored_limits, _kept_ones(budgets)), *map(_of_key, _kept_ones(keys)))
        self._kept[workspace] = found
        return found


def _kept_ones(rows: Iterable[Document]) -> list[Document]:
    return [row for row in rows if not row.get("removed") and row.get("revokedAt") is None]


def _of_key(row: Document) -> StoredLimits:
    """A publishable key's own record has a daily limit of tokens."""
    limits: dict[PeriodKind, tuple[int | None, int | None]] = {"day": (row["dailyTokens"], None)}
    return StoredLimits(Subject("key", row["_id"]), "record", row.get("dailyTokensAt", 0), limits)
