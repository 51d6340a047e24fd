"""Gaps of an agent's knowledge: questions of users for which its search found nothing that it may use."""

from typing import Literal

from shared.contracts.schema import Schema, Time

# `nothing_found`: no search of the turn brought a passage that the agent may use. `nothing_cited`: passages were shown,
# and the answer, which used no other tool, names none of them; small talk is among these.
GapReason = Literal["nothing_found", "nothing_cited"]


class GapTurn(Schema):
    """One turn that asked. `question` is the first part of the user's message."""

    turn_id: str
    session_id: str | None = None
    question: str
    reason: GapReason = "nothing_found"
    asked_at: Time


class KnowledgeGap(Schema):
    """Questions that mean the same, by their words. `question` is the wording of the newest of them."""

    question: str
    count: int
    first_asked_at: Time
    last_asked_at: Time
    examples: tuple[GapTurn, ...] = ()


class KnowledgeGaps(Schema):
    """The most frequent gaps first. `truncated`: there were more questions than are read, or more groups than shown."""

    days: int
    questions: int
    truncated: bool
    gaps: tuple[KnowledgeGap, ...] = ()
