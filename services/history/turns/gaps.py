"""Gaps of an agent's knowledge: stored with the turns that asked, and grouped when they are read.

A gap is three members of its turn's document, written by the update that ends the turn. So it is neither lost nor
counted twice, and it is erased with the turn.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, between
from services.history.turns.record import TurnRecord
from shared.contracts.gaps import GapReason, GapTurn, KnowledgeGap, KnowledgeGaps
from shared.contracts.turns import FinishedTurn
from shared.ids import id_at

MAX_QUESTION: Final = 500
# What one answer reads and shows.
MAX_READ: Final = 5000
MAX_GROUPS: Final = 100
MAX_EXAMPLES: Final = 5
# Groups that are compared with each other: the most frequent ones.
MAX_COMPARED: Final = 300
SAME_FROM: Final = 0.6

_FIELDS: Final = {"gap": 1, "gapReason": 1, "sessionId": 1, "createdAt": 1}
_WORD: Final = re.compile(r"\w+")
_LATEST_MS: Final = (1 << 48) - 1


def gap_of(record: TurnRecord | None, finished: FinishedTurn) -> Document:
    """The members for the turn's document: empty when the turn is no gap.

    Tests in draft mode and checks are not users' questions. A completion that nobody stores must leave no text.
    """
    if record is None or finished.status != "completed" or record.agent_version == 0 or record.check is not None:
        return {}
    if record.session_id is None and not record.store:
        return {}
    reason = _reason(finished)
    question = next((message.content for message in reversed(record.input) if message.role == "user"), None)
    if reason is None or not question or not question.strip():
        return {}
    return {"gap": question[:MAX_QUESTION], "gapReason": reason, "gapId": finished.turn_id}


def _reason(finished: FinishedTurn) -> GapReason | None:
    searches = [search for message in finished.output for search in message.knowledge or ()]
    passages = [passage for search in searches for passage in search.passages]
    if not passages:
        return "nothing_found" if searches else None
    is_cited = any(message.citations for message in finished.output)
    is_asked_to_cite = any(passage.marker is not None for passage in passages)
    used_tools = any(message.tool_calls for message in finished.output)
    return "nothing_cited" if is_asked_to_cite and not is_cited and not used_tools else None


class Gaps:
    def __init__(self, database: Database) -> None:
        self._turns = database.turns

    async def since(self, workspace: str, agent_id: str, days: int, reason: GapReason | None) -> KnowledgeGaps:
        """The gaps of the last `days`, of the newest `MAX_READ` questions. `reason` None: of any."""
        earliest_ms = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
        ids = between(id_at("trn", earliest_ms), id_at("trn", _LATEST_MS))
        where = {"workspace": workspace, "agentId": agent_id, "gapId": ids}
        rows = await self._turns.many(where, fields=_FIELDS, order=[("gapId", -1)], limit=MAX_READ + 1)
        asked = [turn for turn in map(_asked, rows[:MAX_READ]) if reason is None or turn.reason == reason]
        groups = grouped(asked)
        return KnowledgeGaps(
            days=days,
            questions=len(asked),
            truncated=len(rows) > MAX_READ or len(groups) > MAX_GROUPS,
            gaps=tuple(groups[:MAX_GROUPS]),
        )


def _asked(row: Document) -> GapTurn:
    return GapTurn(
        turn_id=row["_id"],
        session_id=row.get("sessionId"),
        question=row["gap"],
        reason=row["gapReason"],
        asked_at=row["createdAt"],
    )


def grouped(asked: Iterable[GapTurn]) -> list[KnowledgeGap]:
    """Questions of the same words in any order, and then groups that share most words. The largest group first.

    `asked`: newest first.
    """
    groups: dict[frozenset[str], list[GapTurn]] = {}
    for turn in asked:
        groups.setdefault(_words(turn.question), []).append(turn)
    by_size = sorted(groups.items(), key=lambda group: -len(group[1]))
    merged: list[tuple[frozenset[str], list[GapTurn]]] = []
    for words, turns in by_size[:MAX_COMPARED]:
        like = next((group for group in merged if _likeness(words, group[0]) >= SAME_FROM), None)
        if like is None:
            merged.append((words, turns))
        else:
            like[1].extend(turns)
    gaps = [_gap(turns) for _, turns in (*merged, *by_size[MAX_COMPARED:])]
    return sorted(gaps, key=lambda gap: (gap.count, gap.last_asked_at), reverse=True)


def _words(question: str) -> frozenset[str]:
    return frozenset(_WORD.findall(question.casefold())) or frozenset((question,))


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def _gap(turns: Sequence[GapTurn]) -> KnowledgeGap:
    newest_first = sorted(turns, key=lambda turn: turn.asked_at, reverse=True)
    wordings: dict[str, Any] = {}
    for turn in newest_first:
        wordings.setdefault(turn.question, turn)
    return KnowledgeGap(
        question=newest_first[0].question,
        count=len(turns),
        first_asked_at=newest_first[-1].asked_at,
        last_asked_at=newest_first[0].asked_at,
        examples=tuple(wordings.values())[:MAX_EXAMPLES],
    )
