"""The routes of the site. They need no key, and their policy allows no request to another origin."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from services.gateway.site.files import SiteFile, files, home
from shared.contracts.errors import MEANINGS
from shared.web.middleware import Handler

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGES: Final = _POLICY.format(styles="")
# The renderer of the API reference sets styles from its script. It gets no other freedom.
_REFERENCE: Final = _POLICY.format(styles=" 'unsafe-inline'")


def site_routes(pages: Mapping[str, str]) -> list[web.RouteDef]:
    """`pages` are titles of further pages that the home page links to, by their paths."""
    return [
        *(
            web.get(path, _serve(file, _REFERENCE if path == "/docs/reference" else _PAGES))
            for path, file in {**files(), "/": home(pages)}.items()
        ),
        web.get("/docs/", _moved("/docs")),
        *(web.get(f"/errors/{code}", _moved(f"/docs/errors#{code}")) for code in MEANINGS),
    ]


def _serve(file: SiteFile, policy: str) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-cache",  # kept, and asked about by its ETag: a release is seen at once
            "ETag": file.etag,
            "Vary": "Accept-Encoding",
        }
        if file.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        if packed:
            headers["Content-Encoding"] = "gzip"
        body = file.packed if packed else file.body
        return web.Response(body=body, headers={**headers, "Content-Type": file.media_type})

    return serve


def _moved(to: str) -> Handler:
    """The `type` of a problem document leads to its explanation."""

    async def move(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": to, "Cache-Control": "public, max-age=300"})

    return move
