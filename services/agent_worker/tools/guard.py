"""Where an HTTP tool may connect to: public addresses only, judged at the moment of connecting, plus what the operator allows.

Names are resolved by the connector and each address is judged just before its socket is made, so that a literal, a strange
spelling, a redirect and a name that changes its address between two look-ups all meet the same guard.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from aiohttp.connector import AddrInfoType
from yarl import URL

_DENIED: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's virtual public address of the host
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # NAT64 within a network
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
# Prefixes whose last 32 bits are an IPv4 address that something on the way may deliver to.
_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
_6TO4: Final = ipaddress.IPv6Network("2002::/16")
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")
_NUMERIC_LABEL: Final = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)")


class AddressRefused(OSError):
    """The guard does not let a tool connect there."""


class UrlRefused(ValueError):
    """A tool's URL is one that no tool may have."""


def is_public(address: str) -> bool:
    """Whether an IP address is a public unicast one, also when it is wrapped into another. Anything unreadable is not."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    wrapped = embedded_addresses(parsed) if isinstance(parsed, IPv6Address) else []
    return all(_is_plainly_public(each) for each in (parsed, *wrapped))


def _is_plainly_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and any(address in network for network in _EMBEDDING):
        return True  # Judged by the IPv4 address within.
    return address.is_global and not address.is_multicast and not any(address in network for network in _DENIED)


def embedded_addresses(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for: mapped, compatible, translated, 6to4, Teredo, ISATAP."""
    number = int(address)
    found = [IPv4Address(number & 0xFFFFFFFF)] if any(address in network for network in _EMBEDDING) else []
    if address in _6TO4:
        found.append(IPv4Address(number >> 80 & 0xFFFFFFFF))
    if address in _TEREDO:
        found += [IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~number & 0xFFFFFFFF)]
    if number >> 32 & 0xFDFFFFFF == 0x5EFE:
        found.append(IPv4Address(number & 0xFFFFFFFF))
    return found


def guarded_sockets(is_allowed: Callable[[str], bool] = is_public) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory for aiohttp's TCPConnector. It raises AddressRefused for what is not allowed."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_allowed(str(address[0])):
            raise AddressRefused("a tool may connect to public addresses only")
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


def checked_url(text: str, ports: frozenset[int], allowed_hosts: frozenset[str]) -> tuple[URL, bool]:
    """The URL, and whether the operator's list allows its host and port although they need not be public. Raises UrlRefused."""
    try:
        url = URL(text)
    except ValueError:
        raise UrlRefused("the tool's URL is malformed") from None
    if url.scheme not in ("http", "https") or not url.host or url.port is None:
        raise UrlRefused("a tool's URL is http or https")
    if url.user is not None or url.password is not None:
        raise UrlRefused("a tool's URL holds no user")
    host = f"[{url.host}]" if ":" in url.host else url.host
    if f"{host}:{url.port}".lower() in allowed_hosts:
        return url, True
    if url.port not in ports:
        raise UrlRefused("the tool's port is not allowed")
    if not _is_canonical(url.host):
        raise UrlRefused("the tool's host is an address in a strange spelling")
    return url, False


def _is_canonical(host: str) -> bool:
    """Resolvers read `127.1`, `2130706433` and `0x7f000001` as addresses. Names whose last label is a number are none (WHATWG URL)."""
    if ":" in host or not _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return True
    try:
        return str(IPv4Address(host)) == host
    except ValueError:
        return False
