"""Pure: what a subject has used in a period, from the ledger's documents."""

from collections.abc import Iterable
from typing import Final

from services.history.mongo.filters import Document
from services.history.usage.entries import summed
from shared.budgets.periods import Period
from shared.budgets.store import Sums
from shared.contracts.budgets import Subject

_MEMBERS: Final = {"agent": "agentId", "key": "keyId"}


def sums_of(rows: Iterable[Document], subject: Subject, period: Period) -> tuple[Sums, int]:
    """The sums, and the tokens among them whose price is unknown. An end user's `rows` are theirs alone."""
    first, last = period.days
    mine = [row for row in rows if first <= row["day"] <= last and _is_of(row, subject)]
    total = summed(mine)
    tokens = total["promptTokens"] + total["completionTokens"]
    return Sums(tokens, total["cost"], total["turns"], _recent(mine)), total["unpricedTokens"]


def end_user_of(subject: Subject) -> str | None:
    """Whose documents of the ledger have the subject's use; None: the workspace's."""
    return subject.id if subject.kind == "endUser" else None


def _is_of(row: Document, subject: Subject) -> bool:
    member = _MEMBERS.get(subject.kind)
    return member is None or row[member] == subject.id


def _recent(rows: Iterable[Document]) -> list[str]:
    return sorted({turn["id"] for row in rows for turn in row.get("billed", ())})
