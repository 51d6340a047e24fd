"""The page in the widget's frame. Its policy allows the gateway's own script and style, and no request elsewhere."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from services.gateway.widget.assets import assets

_PAGE: Final = """<!doctype html>
<html lang="en" data-mode="auto">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">
<meta name="robots" content="noindex">
<title>Chat</title>
<link rel="stylesheet" href="/widget/{style}" integrity="{style_integrity}">
<script type="module" src="/widget/{script}" integrity="{script_integrity}"></script>
</head>
<body>
<div id="parley"></div>
<noscript>This chat needs JavaScript.</noscript>
</body>
</html>
"""
_ABSENT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Chat</title></head>
<body><p>This chat is not available.</p></body></html>
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
    "frame-ancestors {ancestors}"
)


def frame_page(origins: Sequence[str]) -> web.Response:
    style, script = assets()["frame.css"], assets()["frame.js"]
    page = _PAGE.format(
        style=style.file, style_integrity=style.integrity, script=script.file, script_integrity=script.integrity
    )
    return _html(page, 200, " ".join(origins), "private, max-age=60")


def absent_page() -> web.Response:
    """The same bytes for a key that never was, was revoked, or is no publishable key."""
    return _html(_ABSENT, 404, "'none'", "no-store")


def _html(text: str, status: int, ancestors: str, kept: str) -> web.Response:
    headers = {
        "Content-Security-Policy": _POLICY.format(ancestors=ancestors),
        "Cache-Control": kept,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), clipboard-write=(self)",
    }
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)
