"""Markdown as blocks: CommonMark with tables."""

import re
from collections.abc import Iterator
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.agent_worker.ingest.blocks import Block, Document, row_text
from services.agent_worker.ingest.html import read_html

_FRONT_MATTER: Final = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)\n", re.DOTALL)
_TITLE: Final = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)


def read_markdown(text: str) -> Document:
    title = ""
    if (front := _FRONT_MATTER.match(text)) is not None:
        title = found[1] if (found := _TITLE.search(front[1])) else ""
        text = text[front.end() :]
    blocks = list(_blocks(MarkdownIt("commonmark").enable("table").parse(text)))
    return Document(blocks, title=title or next((block.text for block in blocks if block.kind == "heading"), ""))


def _blocks(tokens: list[Token]) -> Iterator[Block]:
    state = _State()
    for token in tokens:
        if token.type == "inline":
            yield from state.inline(token)
        elif token.type in ("fence", "code_block"):
            yield Block("code", token.content.strip("\n"))
        elif token.type == "html_block":
            yield from read_html(token.content).blocks
        elif token.type == "tr_close":
            yield from state.end_row()
        else:
            state.see(token)


class _State:
    """Where the tokens stand: in a heading, in a list, in a table's row."""

    def __init__(self) -> None:
        self._heading = 0
        self._items = 0
        self._cells: list[str] | None = None
        self._header = ""

    def see(self, token: Token) -> None:
        match token.type:
            case "heading_open":
                self._heading = int(token.tag[1])
            case "heading_close":
                self._heading = 0
            case "list_item_open" | "list_item_close":
                self._items += token.nesting
            case "table_open":
                self._header = ""
            case "tr_open":
                self._cells = []

    def inline(self, token: Token) -> Iterator[Block]:
        text = _plain(token)
        if self._cells is not None:
            self._cells.append(text)
        elif self._heading:
            yield Block("heading", text, level=self._heading)
        else:
            yield Block("item" if self._items else "text", text)

    def end_row(self) -> Iterator[Block]:
        """The first row of a table is its header."""
        text = row_text(self._cells or [])
        self._cells = None
        if self._header:
            yield Block("row", text, header=self._header)
        else:
            self._header = text


def _plain(token: Token) -> str:
    """The text without its marks; of links and images what is shown."""
    parts = []
    for child in token.children or []:
        if child.type in ("text", "code_inline", "image"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return "".join(parts).strip()
