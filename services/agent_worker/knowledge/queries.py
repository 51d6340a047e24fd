"""Pure: the queries that a user's messages make, and one list of passages from the results of all of them."""

import re
from collections.abc import Sequence
from typing import Final

from shared.contracts.sessions import RetrievedPassage

MAX_QUESTIONS: Final = 3
# How much a passage gains by answering the last two messages together. A question such as "and on Sundays?" finds
# nothing by itself, and a question about something else must not be drawn back to the message before.
CONTEXT_WEIGHT: Final = 0.4
_CONTEXT_CHARS: Final = 500
_QUESTION: Final = re.compile(r"[^?？؟]*[?？؟]+|[^?？؟]+")
# A shorter piece, such as "OK?", asks for nothing.
_MIN_QUESTION: Final = 8


def queries_of(message: str, before: str | None) -> tuple[list[str], str | None]:
    """The questions of a user's message, and one with the message before it. None: there is none, or it is not needed.

    A message with several questions is split; it is long enough to do without the one before.
    """
    parts = [part.strip() for part in _QUESTION.findall(message) if len(part.strip()) >= _MIN_QUESTION]
    if len(parts) > 1:
        return parts[:MAX_QUESTIONS], None
    return [message], f"{before[-_CONTEXT_CHARS:]} {message}" if before else None


def merged(
    by_question: Sequence[Sequence[RetrievedPassage]], in_context: Sequence[RetrievedPassage], top_k: int
) -> list[RetrievedPassage]:
    """The best passages, best first: each question gets its share of them."""
    if in_context:
        by_question = [_weighted(found, in_context) for found in by_question]
    chosen: dict[tuple[str, str, str], RetrievedPassage] = {}
    for rank in range(max(map(len, by_question), default=0)):
        for found in by_question:
            if rank < len(found) and len(chosen) < top_k:
                passage = found[rank]
                known = chosen.get(name_of(passage))
                chosen[name_of(passage)] = passage if known is None or passage.score > known.score else known
    return sorted(chosen.values(), key=lambda passage: -passage.score)


def _weighted(found: Sequence[RetrievedPassage], in_context: Sequence[RetrievedPassage]) -> list[RetrievedPassage]:
    scores = {name_of(passage): passage.score for passage in found}
    for passage in in_context:
        scores[name_of(passage)] = scores.get(name_of(passage), 0.0) + CONTEXT_WEIGHT * passage.score
    passages = {name_of(passage): passage for passage in (*in_context, *found)}
    best = sorted(scores, key=lambda each: -scores[each])
    return [passages[each].model_copy(update={"score": min(1.0, round(scores[each], 9))}) for each in best]


def name_of(passage: RetrievedPassage) -> tuple[str, str, str]:
    """Not every retriever knows the passages' ids."""
    return passage.id, passage.source_id, passage.text
