"""All files of the site that are built, by their names below `services/gateway/site/dist`. Pure."""

from collections.abc import Sequence
from typing import Final

import orjson

from deploy.site import layout
from deploy.site.guides import Guide, guides

_SUMMARY: Final = (
    "Parley is a self-hosted backend that serves published conversational agents over HTTP: durable chat sessions with "
    "streams that resume anywhere, and an OpenAI-compatible API."
)
_HOME: Final = """<main id="content" class="home">
<h1>Parley</h1>
<p class="lead">A self-hosted backend that serves published conversational agents over HTTP.</p>
<p>An agent is an instruction, a model, tools and knowledge, frozen under a version number. Parley runs it for many
users at once and keeps every conversation.</p>
<ul class="promises">
<li><strong>An accepted turn is never lost and never doubled,</strong> whatever process dies.</li>
<li><strong>A stream resumes on any gateway</strong> without a gap or a repeat.</li>
<li><strong><code>done</code> is a receipt:</strong> the transcript is stored before the client receives it.</li>
</ul>
<p class="ways"><a class="button" href="/docs/quickstart">Quickstart</a> <a class="button" href="/docs">Guides</a>
<a class="button" href="/docs/reference">API reference</a><!-- pages --></p>
<h2>For programs</h2>
<ul>
<li><a href="/api/v1/openapi.json">The OpenAPI document</a></li>
<li><a href="/llms.txt">llms.txt</a>: an index of the guides. Each guide is also there as Markdown.</li>
</ul>
</main>"""
_REFERENCE: Final = """<div id="content" class="reference">
<noscript><h1>API reference</h1>
<p>The API reference needs JavaScript. Without it, read <a href="/api/v1/openapi.json">the OpenAPI
document</a>.</p></noscript>
<div id="reference"></div>
</div>"""
_REFERENCE_SCRIPTS: Final = (
    '<script src="/docs/assets/scalar.js" defer></script>\n<script src="/docs/assets/reference.js" defer></script>\n'
)


def pages() -> dict[str, str]:
    all_guides = guides()
    return {
        "home.html": layout.page(title="Home", summary=_SUMMARY, body=_HOME, kind="landing"),
        "contents.html": layout.contents_page(all_guides),
        "reference.html": layout.page(
            title="API reference",
            summary="All routes of Parley's HTTP API.",
            body=_REFERENCE,
            kind="api",
            more=_REFERENCE_SCRIPTS,
        ),
        **{f"guide-{each.slug}.html": layout.guide_page(each, all_guides) for each in all_guides},
        "search.json": _search_index(all_guides),
        "llms.txt": _llms(all_guides),
    }


def _search_index(all_guides: Sequence[Guide]) -> str:
    """One entry per section: `{url, page, title, text}`."""
    entries = [
        {"url": f"/docs/{each.slug}#{part.anchor}", "page": each.title, "title": part.title, "text": part.text}
        for each in all_guides
        for part in each.sections
    ]
    return orjson.dumps(entries, option=orjson.OPT_INDENT_2).decode() + "\n"


def _llms(all_guides: Sequence[Guide]) -> str:
    """As https://llmstxt.org describes it."""
    links = "\n".join(f"- [{each.title}](/docs/{each.slug}.md): {each.summary}" for each in all_guides)
    return (
        f"# Parley\n\n> {_SUMMARY}\n\n## Guides\n\n{links}\n\n## API\n\n"
        "- [OpenAPI document](/api/v1/openapi.json): all routes, schemas and error codes\n"
        "- [JSON Schema of agent.yaml](/api/v1/schemas/agent.json)\n"
    )
