"""XLSX: each visible sheet is a heading, and its rows are a table. Formulas count by the result stored with them."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from services.agent_worker.ingest.blocks import Block, Document, Unreadable, row_text
from services.agent_worker.ingest.cell_formats import Kind, shown
from services.agent_worker.ingest.office import check_container
from services.agent_worker.ingest.workbook import DAMAGED, Attributes, Parts

# Empty cells between filled ones count. A text that a million cells share is small in the file.
MAX_CELLS: Final = 1_000_000
MAX_CHARACTERS: Final = 32 << 20
_COLUMNS: Final = 16_384
_COLUMN: Final = re.compile(r"[A-Z]{1,3}")


def read_xlsx(path: Path) -> Document:
    """Raises Unreadable."""
    check_container(path)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = Parts(archive)
            texts, kinds = parts.shared_texts(), parts.cell_kinds()
            size, blocks = _Size(), list[Block]()
            for name, member in parts.sheets:
                sheet = _Sheet(texts, kinds, size, is_1904=parts.is_1904)
                parts.parse(member, sheet.start, text=sheet.text, end=sheet.end)
                if found := list(_table(sheet.rows)):
                    blocks += [Block("heading", name, level=1), *found]
    except (zipfile.BadZipFile, OSError):
        raise Unreadable(DAMAGED) from None
    return Document(blocks)


class _Size:
    """Of all sheets together."""

    def __init__(self) -> None:
        self._cells = 0
        self._characters = 0

    def add(self, row: list[str]) -> None:
        self._cells += len(row)
        self._characters += sum(map(len, row))
        if self._cells > MAX_CELLS or self._characters > MAX_CHARACTERS:
            raise Unreadable(f"It has more than {MAX_CELLS:,} cells, or too much text. Split it.")


class _Sheet:
    """Takes a sheet's elements as they come. `rows` are those with a filled cell."""

    def __init__(self, texts: list[str], kinds: list[Kind], size: _Size, *, is_1904: bool) -> None:
        self.rows: list[list[str]] = []
        self._texts = texts
        self._kinds = kinds
        self._size = size
        self._is_1904 = is_1904
        self._row: list[str] = []
        self._column = 0
        self._cell: Attributes = {}
        self._pieces: list[str] = []
        self._is_value = False

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "c":
            self._cell = attributes
            self._pieces.clear()
            self._column = _column_of(attributes.get("r")) or self._column + 1
        elif name in ("v", "t"):
            self._is_value = True
        elif name == "row":
            self._row, self._column = [], 0

    def text(self, piece: str) -> None:
        if self._is_value:
            self._pieces.append(piece)

    def end(self, name: str) -> None:
        if name in ("v", "t"):
            self._is_value = False
        elif name == "c":
            self._add(self._value("".join(self._pieces)).strip())
        elif name == "row" and self._row:
            self._size.add(self._row)
            self.rows.append(self._row)

    def _add(self, text: str) -> None:
        """Absent cells before a filled one are empty; those after the last filled one are left out."""
        if text:
            if not len(self._row) < self._column <= _COLUMNS:
                raise Unreadable(DAMAGED)
            self._row += [""] * (self._column - 1 - len(self._row))
            self._row.append(text)

    def _value(self, text: str) -> str:
        match self._cell.get("t", "n"):
            case "s":
                return self._texts[int(text)] if text.isdecimal() and int(text) < len(self._texts) else ""
            case "b":
                return "TRUE" if text == "1" else "FALSE"
            case "e":
                return ""
            case "n":
                style = self._cell.get("s", "0")
                kind = self._kinds[int(style)] if style.isdecimal() and int(style) < len(self._kinds) else "number"
                return shown(text, kind, is_1904=self._is_1904)
            case _:
                return text


def _column_of(reference: str | None) -> int:
    """From 1. 0: the reference is missing."""
    column = 0
    if reference is not None and (letters := _COLUMN.match(reference)) is not None:
        for letter in letters[0]:
            column = column * 26 + ord(letter) - ord("A") + 1
    return column


def _table(rows: list[list[str]]) -> Iterator[Block]:
    """The first row with two filled cells is the header; what stands above it is text, as are sheets of one column."""
    header, first = "", 0
    for number, row in enumerate(rows):
        if header:
            yield Block("row", _row_text(row, first), header=header)
        elif len(filled := [cell for cell in row if cell]) > 1 and number + 1 < len(rows):
            first = row.index(filled[0])
            header = _row_text(row, first)
        else:
            yield Block("text", row_text(filled))


def _row_text(row: list[str], first: int) -> str:
    """`first`: the table's first column. What stands before it is kept where there is anything."""
    return row_text(row if any(row[:first]) else row[first:])
