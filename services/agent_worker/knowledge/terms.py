"""The words of texts and of questions, as the FTS5 index knows them: folded, stemmed, and pairs in unspaced scripts."""

from typing import Final

import Stemmer  # type: ignore[import-not-found, import-untyped, unused-ignore]  # a compiled module without types

from services.agent_worker.knowledge.languages import PLAIN
from shared.words import MAX_WORD, folded, has_unspaced, overlapping, separated, spaced_words

# Terms are separated by spaces and hold word characters only. This tokenizer takes them as they are.
TOKENIZER: Final = "ascii"
# A text with endlessly many different words shall not fill the memory.
_CACHED_WORDS: Final = 200_000


class Folder(dict[str, str]):
    """Folded words by word."""

    def __missing__(self, word: str) -> str:
        fold = self._fold(word[:MAX_WORD])
        if len(self) < _CACHED_WORDS:
            self[word] = fold
        return fold

    def _fold(self, word: str) -> str:
        return folded(word)


class Stems(Folder):
    """Folded stems by word, in one language. One thread at a time: a Snowball stemmer has a state."""

    def __init__(self, language: str) -> None:
        super().__init__()
        # Its own cache would only repeat this one.
        self._stem = None if language == PLAIN else Stemmer.Stemmer(language, 0).stemWord

    def _fold(self, word: str) -> str:
        # An accent belongs to the stem's rules, so it is removed afterwards.
        return folded(word if self._stem is None else self._stem(word)) or word


def words_and_pairs(text: str) -> tuple[list[str], str]:
    """A normalized text's words, and of each unspaced run the pairs and the clusters at both ends."""
    text = separated(text)
    return (spaced_words(text), overlapping(text)) if has_unspaced(text) else (text.split(), "")


def indexed(words: list[str], pairs: str, stems: Stems) -> str:
    """Words and pairs as terms."""
    stemmed = " ".join(map(stems.__getitem__, words))
    return f"{stemmed} {pairs}" if pairs else stemmed
