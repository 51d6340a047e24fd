"""Pure: text that comes in pieces, cut into sentences as soon as they are whole."""

import re
from typing import Final

# Characters after which a text without a sentence's end is cut, at a space if it has one.
MAX_SENTENCE: Final = 1000
# The last end in what has come: a mark with the space behind it, a line break, or a mark that needs no space.
_END: Final = re.compile(r"(?:[.!?…؟।][\"'”’»)\]]*\s+|\n+|[。！？]+[”’」』）]*)")


class Sentences:
    """`add` takes pieces, `take` returns what is whole so far: one string for each sentence. No text is changed.

    At most one sentence, or MAX_SENTENCE characters of it, is held back.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    def take(self) -> list[str]:
        text, whole, at = self._joined(), list[str](), 0
        for found in _END.finditer(text):
            whole.append(text[at : found.end()])
            at = found.end()
        while len(text) - at > MAX_SENTENCE:
            space = text.rfind(" ", at, at + MAX_SENTENCE) + 1
            end = space if space > at else at + MAX_SENTENCE
            whole.append(text[at:end])
            at = end
        self._pieces = [text[at:]]
        return whole

    def rest(self) -> list[str]:
        """The text is over: all that is left."""
        whole = [*self.take(), *self._pieces]
        self._pieces = []
        return [text for text in whole if text]

    def _joined(self) -> str:
        return "".join(self._pieces)
