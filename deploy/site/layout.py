"""The frame of every page: head, navigation, search and the switch between light and dark."""

from collections.abc import Sequence
from html import escape
from string import Template
from typing import Final

from deploy.site.guides import Guide

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · Parley</title>
<meta name="description" content="$summary">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/site.css">
<script src="/docs/assets/site.js"></script>
$more</head>
<body class="$kind">
<a class="skip" href="#content">Skip to the content</a>
<header>
<a class="brand" href="/">Parley</a>
<nav aria-label="Site"><a href="/docs">Guides</a> <a href="/docs/reference">API reference</a></nav>
<div id="search" role="search" hidden>
<label for="query">Search the guides</label>
<input id="query" type="search" autocomplete="off" placeholder="Search">
<ul id="found" aria-label="Results" hidden></ul>
<p id="count" role="status"></p>
</div>
<button id="mode" type="button" hidden>Dark</button>
</header>
$body
</body>
</html>
""")
_DOCS: Final = Template("""<div class="columns">
<nav class="guides" aria-label="Guides">
<ul>
$links
</ul>
</nav>
<main id="content">
$main
</main>
</div>""")


def page(*, title: str, summary: str, body: str, kind: str, more: str = "") -> str:
    """A whole document. `body` and `more` are HTML, the others are text."""
    return _PAGE.substitute(title=escape(title), summary=escape(summary), body=body, kind=kind, more=more)


def guide_page(shown: Guide, guides: Sequence[Guide]) -> str:
    source = f'<p class="source"><a href="/docs/{shown.slug}.md">This page as Markdown</a></p>'
    body = _DOCS.substitute(links=_links(guides, shown.slug), main=shown.html + source)
    return page(title=shown.title, summary=shown.summary, body=body, kind="docs")


def contents_page(guides: Sequence[Guide]) -> str:
    summary = "How to use Parley, with examples to paste."
    entries = "\n".join(
        f'<li><a href="/docs/{each.slug}">{escape(each.title)}</a><br>{escape(each.summary)}</li>' for each in guides
    )
    main = f'<h1>Guides</h1>\n<p>{summary}</p>\n<ul class="contents">\n{entries}\n</ul>'
    return page(
        title="Guides", summary=summary, body=_DOCS.substitute(links=_links(guides, ""), main=main), kind="docs"
    )


def _links(guides: Sequence[Guide], current: str) -> str:
    return "\n".join(
        f'<li><a href="/docs/{each.slug}"{_mark(each.slug == current)}>{escape(each.title)}</a></li>' for each in guides
    )


def _mark(current: bool) -> str:
    return ' aria-current="page"' if current else ""
