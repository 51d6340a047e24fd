"""What every format is read into: headings, and units of text that are never cut apart before they are too long."""

from dataclasses import dataclass
from typing import Literal


class Unreadable(Exception):
    """The source cannot be read. The text is a sentence for the person who added it."""


@dataclass(frozen=True, slots=True)
class Block:
    """`level` is a heading's, from 1. `header` is the header of the table that a row belongs to, one line of text."""

    kind: Literal["heading", "text", "item", "code", "row"]
    text: str
    level: int = 0
    page: int | None = None
    header: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """`title` is empty where the document does not name itself. `pages` counts those of a paged format."""

    blocks: list[Block]
    title: str = ""
    pages: int = 0


def row_text(cells: list[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells)
