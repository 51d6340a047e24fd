"""Passages: blocks cut along headings, lists, tables and sentences into pieces of 120 to 400 words. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

from services.agent_worker.ingest.blocks import Block
from services.agent_worker.ingest.sentences import pieces, sentences, word_count

FEWEST_WORDS: Final = 120
USUAL_WORDS: Final = 280
MOST_WORDS: Final = 400
OVERLAP_WORDS: Final = 40
MAX_HEADING: Final = 200


@dataclass(frozen=True, slots=True)
class Unit:
    """What is not cut: a sentence, a list item, a row. `joint` stands before it when another unit precedes it."""

    text: str
    joint: str
    page: int | None
    header: str = ""

    @property
    def words(self) -> int:
        return word_count(self.text)


@dataclass(slots=True)
class Section:
    path: tuple[str, ...]
    units: list[Unit] = field(default_factory=list)
    words: int = 0

    def add(self, unit: Unit) -> None:
        self.units.append(unit)
        self.words += unit.words


def passages(blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    """`{text, headingPath, page, position}`, in the order of the document."""
    for position, (path, units) in enumerate(_cut(_merged(_sections(blocks)))):
        passage: dict[str, Any] = {"text": _joined(units), "headingPath": list(path), "position": position}
        page = next((unit.page for unit in units if unit.page is not None), None)
        yield passage | ({"page": page} if page is not None else {})


def _sections(blocks: Iterable[Block]) -> Iterator[Section]:
    """One section for each heading and what stands below it."""
    headings: list[tuple[int, str]] = []
    section = Section(())
    for block in blocks:
        if block.kind == "heading":
            if section.units:
                yield section
            text = " ".join(block.text.split())[:MAX_HEADING]
            headings = [*(each for each in headings if each[0] < block.level), (block.level, text)]
            section = Section(tuple(each[1] for each in headings))
            continue
        for unit in _units(block):
            section.add(unit)
    if section.units:
        yield section


def _units(block: Block) -> Iterator[Unit]:
    texts = sentences(block.text) if block.kind == "text" else [block.text.strip()]
    joint = "\n\n" if block.kind in ("text", "code") else "\n"
    bullet = "- " if block.kind == "item" else ""
    for text in texts:
        for piece in pieces(text, MOST_WORDS // 2):
            if piece:
                yield Unit(bullet + piece, joint, block.page, block.header)
                joint, bullet = " ", ""


def _merged(sections: Iterable[Section]) -> Iterator[Section]:
    """Short sections join the ones that follow, with their headings in the text."""
    held: Section | None = None
    for section in sections:
        if held is None:
            held = section
        elif held.words < FEWEST_WORDS and held.words + section.words <= MOST_WORDS:
            held = _both(held, section)
        else:
            yield held
            held = section
    if held is not None:
        yield held


def _both(first: Section, second: Section) -> Section:
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(first.path, second.path, strict=False))
    path = tuple(heading for heading, _ in shared)
    units = [*_with_heading(first, len(path)), *_with_heading(second, len(path))]
    return Section(path, units, sum(unit.words for unit in units))


def _with_heading(section: Section, known: int) -> list[Unit]:
    heading = " › ".join(section.path[known:])
    if not heading or section.units[0].text == heading:
        return section.units
    return [Unit(heading, "\n\n", section.units[0].page), *section.units]


def _cut(sections: Iterable[Section]) -> Iterator[tuple[tuple[str, ...], list[Unit]]]:
    for section in sections:
        if section.words <= MOST_WORDS:
            yield section.path, section.units
            continue
        for units in _portions(section.units):
            yield section.path, units


def _portions(units: list[Unit]) -> Iterator[list[Unit]]:
    """Portions of the usual length. Each but the first repeats the last words of the one before."""
    current: list[Unit] = []
    size, left = 0, sum(unit.words for unit in units)
    for unit in units:
        # What is left joins the last portion rather than standing alone.
        if current and size + unit.words > USUAL_WORDS and (left >= FEWEST_WORDS or size + left > MOST_WORDS):
            yield current
            current = _overlap(current)
            size = sum(each.words for each in current)
        current.append(unit)
        size += unit.words
        left -= unit.words
    if current:
        yield current


def _overlap(units: list[Unit]) -> list[Unit]:
    found: list[Unit] = []
    size = 0
    for unit in reversed(units):
        size += unit.words
        if size > OVERLAP_WORDS or len(found) == len(units) - 1:
            break
        found.insert(0, unit)
    return found


def _joined(units: list[Unit]) -> str:
    """A table's header stands once before its rows."""
    text, header = "", ""
    for unit in units:
        if unit.header and unit.header != header:
            text += ("\n\n" if text else "") + unit.header
        header = unit.header
        text += (unit.joint if text else "") + unit.text
    return text
