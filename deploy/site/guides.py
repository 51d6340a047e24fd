"""One guide: its Markdown, its title, its sections and its HTML."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

GUIDES: Final = Path(__file__).parents[2] / "services/gateway/site/guides"
# The order in which the pages list them.
ORDER: Final = (
    "quickstart",
    "agents",
    "sessions",
    "resume",
    "openai",
    "responses",
    "ai-sdk",
    "ag-ui",
    "mcp",
    "a2a",
    "widget",
    "knowledge",
    "tools",
    "webhooks",
    "keys",
    "errors",
    "limits",
    "doctor",
)
# Only our own files are rendered, so HTML in them (places that the gateway fills) is kept.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": True}).enable("table")


class Section(NamedTuple):
    """A heading with the plain text below it, up to the next heading."""

    anchor: str
    title: str
    text: str


class Guide(NamedTuple):
    slug: str
    title: str
    summary: str
    html: str
    sections: tuple[Section, ...]


def guides() -> list[Guide]:
    found = {path.stem for path in GUIDES.glob("*.md")}
    if found != set(ORDER):
        raise ValueError(f"ORDER and the folder differ: {sorted(found ^ set(ORDER))}")
    return [guide(slug, (GUIDES / f"{slug}.md").read_text("utf-8")) for slug in ORDER]


def guide(slug: str, text: str) -> Guide:
    """Raises ValueError if the text does not begin with a heading and a paragraph."""
    tokens = _MARKDOWN.parse(text)
    if [token.type for token in tokens[0:6:3]] != ["heading_open", "paragraph_open"]:
        raise ValueError(f"{slug}.md must begin with a heading and a paragraph")
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor_of(_plain(content)))
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return Guide(slug, _plain(tokens[1]), _plain(tokens[4]), _focusable(html), tuple(_sections(tokens)))


def anchor_of(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _focusable(html: str) -> str:
    """What may scroll sideways can be reached by the keyboard."""
    html = html.replace("<pre>", '<pre tabindex="0">')
    return html.replace("<table>", '<div class="table" tabindex="0"><table>').replace("</table>", "</table></div>")


def _sections(tokens: list[Token]) -> list[Section]:
    sections: list[Section] = []
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            title = _plain(token)
            sections.append(Section(anchor_of(title), title, ""))
        elif token.type in ("inline", "fence"):
            last = sections[-1]
            text = _plain(token) if token.type == "inline" else token.content
            sections[-1] = last._replace(text=f"{last.text} {' '.join(text.split())}".strip())
    return sections


def _plain(token: Token) -> str:
    breaks = {"softbreak": " ", "hardbreak": " "}
    return "".join(breaks.get(child.type, child.content) for child in token.children or [])
