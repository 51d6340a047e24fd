"""A question as an FTS5 expression over an index's terms, bounded in the rows that it may match."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from services.agent_worker.knowledge.terms import Stems
from shared.words import clusters, is_unspaced, pairs

MAX_TERMS: Final = 64
# Below so many passages a search is fast whatever it matches.
FEW_PASSAGES: Final = 2000
# Passages that the terms of a question may match in sum, each counted once per term: what bounds a search's time.
MATCH_BUDGET: Final = 12_000
_LEAST_TERMS: Final = 3


def terms_of(found: Iterable[str], stems: Sequence[Stems]) -> list[tuple[str, ...]]:
    """The terms of a question's pieces. Each is a group: a word's stems in the languages of the index.

    A single cluster of an unspaced script ends with `*`: it is the start of any pair.
    """
    groups: dict[tuple[str, ...], None] = {}
    for piece in found:
        if not piece.isascii() and is_unspaced(piece):
            parts = pairs(piece)
            groups.update(dict.fromkeys((part,) for part in parts) if parts else {(f"{clusters(piece)[0]}*",): None})
        else:
            groups[tuple(dict.fromkeys(stem[piece] for stem in stems))] = None
        if len(groups) >= MAX_TERMS:
            break
    return list(groups)[:MAX_TERMS]


def affordable(groups: Sequence[tuple[str, ...]], shares: Mapping[str, float], passages: int) -> list[tuple[str, ...]]:
    """Without the commonest terms, if all of them would match too many passages. `shares`: of the passages, by term."""
    if passages <= FEW_PASSAGES:
        return list(groups)
    kept: list[tuple[str, ...]] = []
    left = float(MATCH_BUDGET)
    for share, group in sorted((sum(shares.get(term, 0.0) for term in group), group) for group in groups):
        left -= share * passages
        if left < 0 and len(kept) >= _LEAST_TERMS:
            break
        kept.append(group)
    return kept


def expression(groups: Iterable[tuple[str, ...]]) -> str:
    """Quoted terms joined by OR: nothing in a question is an operator."""
    return " OR ".join(dict.fromkeys(quoted(term) for group in groups for term in group))


def quoted(term: str) -> str:
    return f'"{term[:-1]}"*' if term.endswith("*") else f'"{term}"'


def corrected(
    groups: list[tuple[str, ...]], is_known: Callable[[str], bool], similar: Callable[[str], list[str]], most: int
) -> list[tuple[str, ...]]:
    """Words that the index does not have are replaced by those that are spelled like them, for `most` words."""
    result: list[tuple[str, ...]] = []
    for group in groups:
        if most > 0 and not group[0].endswith("*") and not any(is_known(term) for term in group):
            most -= 1
            result.append(group + tuple(similar(group[0])))
        else:
            result.append(group)
    return result
