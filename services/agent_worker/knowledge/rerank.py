"""Pure: the candidates of the words' search in a better order, by how their spelling agrees with the question's.

Grams are short pieces of the text: four characters of a word with its edges, two of an unspaced script, and pairs of
words. They find inflections that no stemmer knows, compounds and names in phrases. The weights were fitted on half of
the XQuAD questions of twelve languages together.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import log
from typing import Final, NamedTuple

from services.agent_worker.knowledge.terms import Folder
from shared.words import is_unspaced

WORD_GRAM: Final = 4
UNSPACED_GRAM: Final = 2
# A question's grams beyond these cost time and decide nothing.
MAX_GRAMS: Final = 160
GRAM_WEIGHT: Final = 0.8
PAIR_WEIGHT: Final = 0.3
_K1: Final = 1.2
_B: Final = 0.5
# Of a passage that was found, though it has none of the question's grams.
_LEAST: Final = 0.001


class Question(NamedTuple):
    """The grams of a question, each with its weight: that of a rare one is high."""

    grams: Mapping[str, float]
    pairs: Mapping[str, float]


def spelled(found: Iterable[str], folder: Folder) -> str:
    """The pieces of a text with a space at each edge, which is what grams are counted in."""
    return f" {' '.join([folder[piece] for piece in found])} "


def grams(text: str) -> set[str]:
    """All that a spelled text may be asked for: its grams and its pairs of words."""
    words = text.split()
    return set(grams_of(words)) | set(pairs_of(words))


def grams_of(words: Sequence[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        size = WORD_GRAM
        if not word.isascii() and is_unspaced(word):
            size = UNSPACED_GRAM
        else:
            word = f" {word} "
        found += [word[at : at + size] for at in range(len(word) - size + 1)] or [word]
    return found


def pairs_of(words: Sequence[str]) -> list[str]:
    return [f" {first} {second} " for first, second in pairwise(words)]


def rarity(count: int, sampled: int) -> float:
    """A term's weight, from the number of a sample's passages that have it."""
    return max(0.0, log((sampled - count + 0.5) / (count + 0.5)))


def order(question: Question, candidates: Sequence[tuple[float, str]]) -> list[float]:
    """New scores of candidates from 0 to 1, from their scores by words and their spelled texts.

    The best one's is the share of the question that it has, where rare words weigh more; the others follow from it.
    """
    if not candidates:
        return []
    mean = sum(len(text) for _, text in candidates) / len(candidates)
    lengths = [_K1 * (1 - _B + _B * len(text) / mean) for _, text in candidates]
    legs = [
        (1.0, [score for score, _ in candidates]),
        (GRAM_WEIGHT, [_agreement(question.grams, text, k) for (_, text), k in zip(candidates, lengths, strict=True)]),
        (PAIR_WEIGHT, [_agreement(question.pairs, text, k) for (_, text), k in zip(candidates, lengths, strict=True)]),
    ]
    totals = [0.0] * len(candidates)
    for weight, scores in legs:
        if (best := max(scores)) > 0:
            totals = [total + weight * score / best for total, score in zip(totals, scores, strict=True)]
    best = max(totals)
    scale = _share(question.grams, candidates[totals.index(best)][1]) / best if best > 0 else 0.0
    return [total * scale for total in totals]


def _share(weights: Mapping[str, float], text: str) -> float:
    """How much of a question's weight a text has. A question of nothing but common words is found whole."""
    whole = sum(weights.values())
    return max(_LEAST, sum(weight for gram, weight in weights.items() if gram in text) / whole) if whole > 0 else 1.0


def _agreement(weights: Mapping[str, float], text: str, length: float) -> float:
    total = 0.0
    for gram, weight in weights.items():
        if count := text.count(gram):
            total += weight * count * (_K1 + 1) / (count + length)
    return total
