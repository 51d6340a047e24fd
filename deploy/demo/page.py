"""The demo shop's web page: on another origin than the gateway, it embeds the widget as a customer's site does."""

from html import escape
from pathlib import Path
from string import Template
from typing import Final

from aiohttp import web

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mia's Pizza</title>
<link rel="icon" href="data:,">
<style>body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 3rem 5vw; }
@media (max-width: 40rem) { body { margin: 1.5rem 1rem; } }</style>
</head>
<body>
<main>
<h1>Mia's Pizza</h1>
<p>This page stands for a web site of yours. Open the chat in the corner and ask whether we deliver to 80202, or where
order 1042 is.</p>
<p>One line of HTML embeds the chat. <a href="$gateway/docs/widget">How it works</a></p>
</main>
<script async src="$gateway/widget/loader.js" data-parley-key="$key"></script>
</body>
</html>
""")


def shop_page(gateway: str, key: str) -> str:
    """`gateway`: its base URL. `key`: a publishable key for the origin that serves the page."""
    return _PAGE.substitute(gateway=escape(gateway), key=escape(key))


def page_route(file: Path) -> web.RouteDef:
    """404 until `make up` has written the file: it has a key only after this process has started."""

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(file, headers={"Cache-Control": "no-store"})

    return web.get("/", serve)
