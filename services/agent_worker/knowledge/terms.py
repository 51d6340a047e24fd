"""The words of texts and of questions, as the FTS5 index knows them: folded, stemmed, and pairs in unspaced scripts."""

from itertools import pairwise
from typing import Final

import Stemmer  # type: ignore[import-not-found, import-untyped, unused-ignore]  # a compiled module without types

from services.agent_worker.knowledge.languages import PLAIN
from shared.words import MAX_WORD, clusters, folded, has_unspaced, is_unspaced

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


def indexed(text: str, found: list[str], stems: Stems) -> str:
    """A normalized text's pieces as terms for the tokenizer: a run becomes its pairs and its last cluster."""
    if not has_unspaced(text):
        return " ".join([stems[word] for word in found])
    words: list[str] = []
    for piece in found:
        if is_unspaced(piece):
            run = clusters(piece)
            words += [first + second for first, second in pairwise(run)]
            words.append(run[-1])
        else:
            words.append(stems[piece])
    return " ".join(words)
