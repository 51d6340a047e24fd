"""The playground and the console: pages for people who have a secret key. Off unless a setting turns them on.

They are built from the public API, with the key that is pasted into them. Their policy allows the gateway's own script
and style, no request to another origin and no text that becomes HTML or script.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

from services.gateway.edge.built_files import Asset, read_assets, serve_asset
from services.gateway.settings import GatewaySettings
from shared.web.middleware import Handler

DIST: Final = Path(__file__).with_name("dist")
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} · Parley</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/pages/{style}" integrity="{style_integrity}">
<script type="module" src="/pages/{script}" integrity="{script_integrity}"></script>
</head>
<body>
<div id="parley" data-pages="{pages}"></div>
<noscript>
<main>
<h1>{title}</h1>
<p>This page needs JavaScript. Turn it on, or use the <a href="/docs">guides</a>, which work without.</p>
</main>
</noscript>
</body>
</html>
"""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), clipboard-write=(self)",
}


@cache
def _assets() -> dict[str, Asset]:
    return read_assets(DIST)


def page_titles(settings: GatewaySettings) -> dict[str, str]:
    """Of the pages that are on, by their paths."""
    pages = {"/playground": ("Playground", settings.playground), "/console": ("Console", settings.console)}
    return {path: title for path, (title, is_on) in pages.items() if is_on}


def console_routes(settings: GatewaySettings) -> list[web.RouteDef]:
    pages = page_titles(settings)
    if not pages:
        return []
    files = [web.get(f"/pages/{asset.file}", serve_asset(asset)) for asset in _assets().values()]
    names = [path.removeprefix("/") for path in pages]
    return [*(web.get(f"/{name}", _page(pages[f"/{name}"], name, names)) for name in names), *files]


def _page(title: str, script_name: str, pages: Sequence[str]) -> Handler:
    style, script = _assets()["style.css"], _assets()[f"{script_name}.js"]
    text = _PAGE.format(
        title=title,
        pages=" ".join(pages),
        style=style.file,
        style_integrity=style.integrity,
        script=script.file,
        script_integrity=script.integrity,
    )

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=_HEADERS)

    return serve
