"""Pure: the tables that the gateway fills into guides, from the same contracts that it serves."""

import re
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from shared.contracts.errors import MEANINGS, Code
from shared.contracts.frame_types import FRAME_TYPES

_CODE: Final = re.compile("`([^`]*)`")


class _Table(NamedTuple):
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


_ERRORS: Final = _Table(
    ("code", "HTTP status", "retryable", "meaning"),
    [
        (f"`{code}`", str(MEANINGS[code].status), "yes" if MEANINGS[code].retryable else "no", MEANINGS[code].title)
        for code in Code
    ],
)
_FRAMES: Final = _Table(("event", "when"), [(f"`{name}`", kind.when) for name, kind in FRAME_TYPES.items()])
# By the comment that holds their place in a guide.
TABLES: Final = {"<!-- errors -->": _ERRORS, "<!-- frames -->": _FRAMES}


def with_markdown_tables(text: str) -> str:
    for place, (head, rows) in TABLES.items():
        text = text.replace(place, "\n".join(_markdown_row(row) for row in (head, ("---",) * len(head), *rows)))
    return text


def with_html_tables(text: str) -> str:
    for place, (head, rows) in TABLES.items():
        if place in text:
            titles = "".join(f"<th>{escape(title)}</th>" for title in head)
            body = "\n".join(_html_row(row) for row in rows)
            table = f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
            text = text.replace(place, f'<div class="table" tabindex="0">{table}</div>')
    return text


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _html_row(cells: Sequence[str]) -> str:
    """The first cell is a name in backticks; it becomes the row's anchor."""
    name = cells[0].strip("`")
    shown = "".join(f"<td>{_coded(cell)}</td>" for cell in cells)
    return f'<tr id="{name}">{shown}</tr>'


def _coded(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
