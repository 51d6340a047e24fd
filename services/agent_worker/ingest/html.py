"""HTML as blocks: the main part of a page, without its navigation. The walk does not recurse."""

from collections.abc import Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from services.agent_worker.ingest.blocks import Block, Document, row_text

_SKIPPED: Final = frozenset(
    "script style noscript template svg math nav footer aside form iframe button select object head dialog".split()
)
_FLOW: Final = frozenset(
    "address article blockquote body dd details div dl dt fieldset figcaption figure footer header hr html li main ol "
    "p pre section summary table tbody td tfoot th thead tr ul h1 h2 h3 h4 h5 h6 br caption".split()
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_MAIN: Final = ("main", "[role=main]", "article")
# A main part with less of the page's text than this is a teaser.
_MAIN_SHARE: Final = 0.25
_HIDDEN: Final = frozenset({"banner", "navigation", "search", "contentinfo"})


def read_html(text: str) -> Document:
    tree = LexborHTMLParser(text)
    title = tree.css_first("head title")
    blocks = list(_Walk().blocks(_main_part(tree)))
    first = next((block.text for block in blocks if block.kind == "heading"), "")
    return Document(blocks, title=" ".join((title.text() if title is not None else first).split()))


def _main_part(tree: LexborHTMLParser) -> LexborNode | None:
    body = tree.body or tree.root
    if body is None:
        return None
    size = len(body.text())
    for selector in _MAIN:
        found = tree.css(selector)
        if len(found) == 1 and len(found[0].text()) > size * _MAIN_SHARE:
            return found[0]
    return body


class _Walk:
    """Collects text until a block begins or ends."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._kinds: list[tuple[str, int]] = []

    def blocks(self, root: LexborNode | None) -> Iterator[Block]:
        node, entering = root, True
        while node is not None:
            tag = node.tag or ""
            if entering and tag == "table" and not node.css("table table"):
                yield from self._flushed()
                yield from _rows(node)
            elif entering and not _is_skipped(node, tag):
                yield from self._enter(node, tag)
                if node.child is not None:
                    node = node.child
                    continue
                yield from self._leave(tag)
            elif not entering:
                yield from self._leave(tag)
            if node is root or _same(node, root):
                break
            if node.next is not None:
                node, entering = node.next, True
            else:
                node, entering = node.parent, False
        yield from self._flushed()

    def _enter(self, node: LexborNode, tag: str) -> Iterator[Block]:
        if tag == "-text":
            self._text.append(node.text_content or "")
        elif tag in _FLOW:
            yield from self._flushed()
            if tag in _HEADINGS or tag in ("li", "pre", "dd"):
                self._kinds.append((tag, len(self._text)))

    def _leave(self, tag: str) -> Iterator[Block]:
        if tag in _FLOW:
            yield from self._flushed()
            if self._kinds and self._kinds[-1][0] == tag:
                self._kinds.pop()

    def _flushed(self) -> Iterator[Block]:
        raw = "".join(self._text)
        self._text.clear()
        tag = self._kinds[-1][0] if self._kinds else ""
        text = raw.strip("\n") if tag == "pre" else " ".join(raw.split())
        if not text.strip():
            return
        if tag in _HEADINGS:
            yield Block("heading", text.strip("¶#§ "), level=_HEADINGS[tag])
        else:
            yield Block("code" if tag == "pre" else "item" if tag == "li" else "text", text)


def _same(node: LexborNode, root: LexborNode | None) -> bool:
    return root is not None and node.mem_id == root.mem_id


def _is_skipped(node: LexborNode, tag: str) -> bool:
    if tag in _SKIPPED or tag in ("-comment", "-doctype", "!doctype"):
        return True
    if tag in ("-text", ""):
        return False
    attributes = node.attributes
    return (
        attributes.get("role") in _HIDDEN
        or "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or "headerlink" in (attributes.get("class") or "").split()
    )


def _rows(table: LexborNode) -> Iterator[Block]:
    """The first row is the header. A table of one column or row is layout."""
    rows = [[cell.text(separator=" ") for cell in row.css("td, th")] for row in table.css("tr")]
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return
    if max(map(len, rows)) == 1 or len(rows) == 1:
        yield from (Block("text", row_text(row)) for row in rows)
        return
    header = row_text(rows[0])
    yield from (Block("row", row_text(row), header=header) for row in rows[1:])
