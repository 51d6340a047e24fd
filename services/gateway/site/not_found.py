"""The page for people who follow a broken link. Programs get the problem document, as everything below /api does.

It is asked for by the exception of the router alone, so no request that finds its route pays for it.
"""

from typing import Final

from aiohttp import web

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>There is no such page · Parley</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/assets/site.css">
</head>
<body>
<main>
<h1>There is no such page</h1>
<p>Go to the <a href="/">home page</a> or to the <a href="/docs">guides</a>.</p>
</main>
</body>
</html>
"""


def not_found_page(request: web.Request) -> web.Response | None:
    """None: the client is no browser that shows a page, or asks for something of an API."""
    accepted = request.headers.get("Accept", "")
    if request.method not in ("GET", "HEAD") or "text/html" not in accepted.lower():
        return None
    if request.path.startswith(("/api/", "/admin/")) or request.path in ("/api", "/admin"):
        return None
    return web.Response(status=404, text=_PAGE, content_type="text/html", charset="utf-8", headers=_HEADERS)
