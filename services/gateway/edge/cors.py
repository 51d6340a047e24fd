"""Answers to pages of other origins: only on the routes of publishable keys and visitor tokens, never with credentials.

A preflight carries no key, so it is answered for every origin; the request that follows is checked. Routes of secret
keys give no CORS headers: a secret key does not belong into a page.
"""

import re
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from shared.web.middleware import Handler

CORS_HEADERS: Final = web.RequestKey("cors_headers", dict[str, str])
_ORIGIN: Final = re.compile(r"https?://[\x21-\x7e]{1,260}")
_SENT: Final = "authorization, content-type, idempotency-key, last-event-id, prefer, x-ai-sdk-version"
_READ: Final = "location, retry-after, x-request-id"
# Two hours; browsers keep no preflight longer.
_KEPT_S: Final = "7200"


def origin_of(request: web.Request) -> str | None:
    """The page's origin, in the form that may go into a header. None: not sent, `null`, or malformed."""
    given = request.headers.getall("Origin", [])
    return given[0] if len(given) == 1 and _ORIGIN.fullmatch(given[0]) else None


def is_own(request: web.Request, origin: str) -> bool:
    """Whether the page is the gateway's own, such as the widget's frame."""
    return origin.partition("://")[2] == request.host


def allow_origin(request: web.Request) -> None:
    """The page may read the answer to this request, also an error."""
    origin = origin_of(request)
    headers = {"Vary": "Origin"}
    if origin is not None:
        headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _READ}
    request[CORS_HEADERS] = headers


def preflight(methods: Iterable[str]) -> Handler:
    allowed = ", ".join(sorted(methods))

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
        origin = origin_of(request)
        if origin is not None:
            headers |= {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Methods": allowed,
                "Access-Control-Allow-Headers": _SENT,
                "Access-Control-Max-Age": _KEPT_S,
            }
        return web.Response(status=204, headers=headers)

    return answer
