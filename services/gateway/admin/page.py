"""The page's HTML. It has no script, and every text from outside is escaped."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from typing import Final

from shared.overview.overview import Line, Overview
from shared.version import VERSION

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
a { color: inherit; }
body { max-width: 62rem; margin: 0 auto; padding: 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1rem; }
dl > div { border: 1px solid #8888; border-radius: .5rem; padding: .5rem 1rem; }
dd { margin: 0; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.bad { font-weight: bold; text-decoration: underline; }
"""
_DIGEST: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Operations · Parley</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>Parley {version}</h1>
<p>{summary} <a href="/admin">Look again</a>: rates are those since the last look.</p>
<dl>{numbers}</dl>
{tables}
</main>
</body>
</html>
"""


def page(seen: Overview) -> str:
    bad = [process for process in seen.processes if process.state != "ready"]
    count = len(seen.processes)
    summary = f"{len(bad)} of {count} processes are not ready." if bad else f"All {count} processes are ready."
    tables = (
        _lines("Work", seen.rates),
        _lines("Errors", seen.errors),
        _table(
            "Processes",
            ("Process", "Address", "State", "Failing"),
            ((each.kind, each.url, each.state, ", ".join(each.failing)) for each in seen.processes),
        ),
    )
    return _PAGE.format(
        style=_STYLE, version=escape(VERSION), summary=summary, numbers=_numbers(seen), tables="\n".join(tables)
    )


def _numbers(seen: Overview) -> str:
    rows = (
        ("Turns waiting", "?" if seen.waiting is None else str(seen.waiting)),
        ("Oldest waits", "?" if seen.oldest_s is None else f"{seen.oldest_s:.1f} s"),
        ("Workers", str(seen.workers)),
        ("Turns running", str(seen.running)),
        ("Streams", str(seen.streams)),
        ("Requests held", str(seen.requests_held)),
    )
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)


def _lines(caption: str, lines: Sequence[Line]) -> str:
    rows = ((line.name, "?" if line.per_s is None else f"{line.per_s:.1f}", f"{line.count:,.0f}") for line in lines)
    return _table(caption, ("What", "Now, per second", "Since the processes' starts"), rows, numbers=True)


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    right = ' class="n"' if numbers else ""
    head = f'<th scope="col">{heads[0]}</th>' + "".join(f'<th scope="col"{right}>{each}</th>' for each in heads[1:])
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(_cell(each, right) for each in others) + "</tr>"
        for first, *others in rows
    )
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, right: str) -> str:
    kind = ' class="bad"' if text in ("away", "not ready") else right
    return f"<td{kind}>{escape(text)}</td>"
