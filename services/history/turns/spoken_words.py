"""The words by which the search finds a turn, written by the update that ends it: `words` and `place`.

They are members of the turn's document. So nothing is lost when a process dies, and they go with the turn.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from services.history.mongo.filters import Document
from services.history.turns.record import TurnRecord
from shared.contracts.sessions import TurnMessage
from shared.log import get_logger
from shared.words import words_of

log = get_logger()

# Different words of one turn; the question's come first. Each costs an entry of the index.
MAX_WORDS: Final = 500
# Characters of one message that are read.
MAX_TEXT: Final = 100_000
_SPOKEN: Final = ("user", "assistant")


class SpokenWords:
    """`searched`: whether this deployment searches transcripts. If not, turns end without words and without a mark."""

    def __init__(self, *, searched: bool) -> None:
        self._searched = searched

    def told(self, record: TurnRecord | None, output: Iterable[TurnMessage]) -> Document:
        """The members for the update that ends a turn. `record` with its question.

        A text whose words cannot be told must not keep its turn from ending: the turn is marked instead.
        """
        mark = self.mark(record)
        if not mark or record is None or record.session_id is None:
            return {}
        try:
            said = [message.wire() for message in (*record.input, *output)]
            return words_of_turn(record.session_id, record.n, said)
        except Exception:
            log.exception("words_not_told", turn_id=record.id)
            return mark

    def mark(self, record: TurnRecord | None) -> Document:
        """The member of an ended turn whose words are not stored: the reconciler stores them.

        Only turns of sessions are searched, and none of a check.
        """
        is_said = record is not None and record.session_id is not None and record.check is None
        return {"unindexed": True} if self._searched and is_said else {}


def words_of_turn(session_id: str, number: int, messages: Iterable[dict[str, Any]]) -> Document:
    """`messages`: of the turn's document, the question's first."""
    words = list(islice(dict.fromkeys(_words(messages)), MAX_WORDS))
    return {"words": words, "place": place_of(session_id, number)}


def place_of(session_id: str, number: int) -> str:
    """Sorts by session, and within it by the turn's number."""
    return f"{session_id}.{number:010}"


def _words(messages: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Of what user and agent said: no instructions, no results of tools."""
    for message in messages:
        if message.get("role") in _SPOKEN and message.get("content"):
            yield from words_of(message["content"][:MAX_TEXT])
