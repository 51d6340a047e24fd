"""Which pages may call the server: those of this machine and of the gateway's own address.

A page of another origin can reach a server on a private address by DNS rebinding, and then its `Host` is the page's own
too. So the `Host` of a request proves nothing (MCP, Security Warning of Streamable HTTP).
"""

import ipaddress

from aiohttp import web
from yarl import URL

from shared.contracts.errors import ApiError, Code


def refuse_foreign_page(request: web.Request, public_url: str) -> None:
    """Raises `origin_not_allowed`. Programs send no `Origin`."""
    for origin in request.headers.getall("Origin", []):
        if not _is_own(origin, public_url):
            raise ApiError(
                Code.ORIGIN_NOT_ALLOWED, "Pages of other origins may not use this server. Call it from a program."
            )


def _is_own(origin: str, public_url: str) -> bool:
    try:
        url = URL(origin)
        return _is_loopback(url.host) or bool(public_url and url.origin() == URL(public_url).origin())
    except ValueError:
        return False


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
