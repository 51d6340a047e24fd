"""The address that a request comes from, with or without proxies between the client and this process."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final

from aiohttp import web
from multidict import CIMultiDictProxy

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Hops that are looked at, from the gateway outwards. A client can make its own part of the header as long as it likes.
MAX_HOPS: Final = 20
_FOR = re.compile(r"for=(\"[^\"]*\"|[^;,\s\"]*)", re.IGNORECASE)


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, ::1` as networks. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def address_of(request: web.Request, trusted: Sequence[Network]) -> str:
    """The client's address, from the connection or a trusted proxy. IPv6 addresses are cut to their /64 network.

    A forwarding header counts as far as trusted proxies wrote it: the nearest other hop is the client.
    """
    found = client_address(request.remote or "", request.headers, trusted)
    if isinstance(found, ipaddress.IPv6Address):
        # One subscriber usually has a whole /64.
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found or "")


def client_address(peer: str, headers: CIMultiDictProxy[str], trusted: Sequence[Network]) -> Address | None:
    """The address behind the trusted proxies; None when the connection has none (a Unix socket)."""
    address = _parsed(peer)
    if address is None or not _is_trusted(address, trusted):
        return address
    # A proxy that maintains one of the two headers forwards the other as the client sent it. If both are present and
    # disagree, neither can be trusted, and the proxy's own address is used.
    found = {_outermost(address, hops, trusted) for hops in (_forwarded(headers), _x_forwarded_for(headers)) if hops}
    return found.pop() if len(found) == 1 else address


def _outermost(proxy: Address, hops: Sequence[str], trusted: Sequence[Network]) -> Address:
    """Walks from the nearest hop outwards, to the first address that is not a trusted proxy."""
    for text in list(reversed(hops))[:MAX_HOPS]:
        address = _parsed(text)
        if address is None:
            return proxy
        if not _is_trusted(address, trusted):
            return address
        proxy = address
    return proxy


def _forwarded(headers: CIMultiDictProxy[str]) -> list[str]:
    """The `for` of each element of RFC 7239's header, nearest hop last. An element without one is an unknown hop."""
    return [_for(element) for line in headers.getall("Forwarded", []) for element in _elements(line)]


def _elements(line: str) -> Iterator[str]:
    """Splits at the commas that are not inside a quoted string."""
    return (found[0] for found in re.finditer(r"(?:\"[^\"]*\"|[^,\"])+", line))


def _for(element: str) -> str:
    found = _FOR.search(element)
    return found[1].strip('"') if found else ""


def _x_forwarded_for(headers: CIMultiDictProxy[str]) -> list[str]:
    return [hop for line in headers.getall("X-Forwarded-For", []) for hop in line.split(",")]


def _parsed(text: str) -> Address | None:
    """`1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]:5`; None for `unknown`, `_hidden` and everything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)
