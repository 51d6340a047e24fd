"""What a subject has used in a period, from the ledger."""

from collections.abc import Iterable
from typing import Final

from services.history.mongo.filters import Document
from services.history.usage.entries import summed
from services.history.usage.ledger import Ledger
from shared.budgets.periods import Period
from shared.budgets.store import Sums
from shared.contracts.budgets import Subject

_MEMBERS: Final = {"agent": "agentId", "key": "keyId"}


async def sums_of(ledger: Ledger, workspace: str, subject: Subject, period: Period) -> tuple[Sums, int]:
    """The sums, and the tokens among them whose price is unknown. Has every turn that had ended before the call.

    Raises ApiError(`dependency_unavailable`) where the ledger is far behind: a counter filled with less would let more
    through than the budget allows.
    """
    await ledger.must_bill(workspace)
    first, last = period.days
    end_user = subject.id if subject.kind == "endUser" else None
    rows = await ledger.rows(workspace, first, last, end_user, with_turns=True)
    mine = [row for row in rows if _is_of(row, subject)]
    total = summed(mine)
    tokens = total["promptTokens"] + total["completionTokens"]
    return Sums(tokens, total["cost"], total["turns"], _recent(mine)), total["unpricedTokens"]


def _is_of(row: Document, subject: Subject) -> bool:
    member = _MEMBERS.get(subject.kind)
    return member is None or row[member] == subject.id


def _recent(rows: Iterable[Document]) -> list[str]:
    return sorted({turn["id"] for row in rows for turn in row.get("billed", ())})
