"""Plain text, CSV and pairs of questions and answers as blocks."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Final

import orjson

from services.agent_worker.ingest.blocks import Block, Document, Unreadable, row_text

_BLANK: Final = re.compile(r"\n[ \t]*\n+")
_ITEM: Final = re.compile(r"\s*(?:[-*•‣–]|\d{1,3}[.)])\s+")
_SNIFFED: Final = 16 << 10
# Longer cells are a quote that was never closed.
_LONGEST_CELL: Final = 1 << 20


def read_text(text: str) -> Document:
    blocks: list[Block] = []
    for paragraph in _BLANK.split(text):
        lines = [line for line in paragraph.split("\n") if line.strip()]
        if len(lines) > 1 and all(_ITEM.match(line) for line in lines):
            blocks += [Block("item", _ITEM.sub("", line, count=1).strip()) for line in lines]
        elif lines:
            blocks.append(Block("text", " ".join(line.strip() for line in lines)))
    return Document(blocks)


def read_csv(text: str) -> Document:
    """The first row is the header."""
    csv.field_size_limit(_LONGEST_CELL)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:_SNIFFED], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        return Document(list(_rows(csv.reader(io.StringIO(text, newline=""), dialect))))
    except csv.Error:
        raise Unreadable("It is not valid CSV: a cell never ends.") from None


def _rows(rows: Iterator[list[str]]) -> Iterator[Block]:
    header = ""
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header = row_text(row)
        else:
            yield Block("row", row_text(row), header=header)


def read_faq(raw: bytes) -> Document:
    """`[{question, answer}…]`: each question is a heading of its own."""
    blocks = []
    for pair in orjson.loads(raw):
        blocks += [Block("heading", pair["question"], level=1), Block("text", pair["answer"])]
    return Document(blocks)
