"""Rules on outgoing URLs, and the operator's list of targets that need not be public. Pure."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Final, Self

from yarl import URL

_NUMERIC_LABEL: Final = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)")
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
MAX_HOST: Final = 253
_PORTED: Final = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]/\s]+)(?::(?P<port>\d{1,5}))?")
_SCHEMES: Final = ("http", "https")


class UrlRefused(ValueError):
    """The URL is one that no outgoing call may have. The text names the rule and may be shown to the agent's author."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowList:
    """Internal targets that the operator allows: names with or without a port, and networks.

    A name allows whatever address it resolves to. A network allows its addresses under every name, on the usual ports.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """From `host`, `host:port`, `[::1]:port` and `10.1.0.0/16`.

        Raises ValueError, which names the entry at fault.
        """
        hosts, networks = set[str](), list[IPv4Network | IPv6Network]()
        for entry in entries:
            if "/" in entry:
                networks.append(ipaddress.ip_network(entry))
            elif (found := _PORTED.fullmatch(entry)) is not None:
                hosts.add(found[0].lower())
            else:
                raise ValueError(f"{entry!r} is neither a host, nor host:port, nor a network")
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def names(self, url: URL) -> bool:
        """Whether the URL's host is listed, alone or with the URL's port."""
        host = f"[{url.host}]" if ":" in (url.host or "") else str(url.host)
        return bool(self.hosts) and not self.hosts.isdisjoint({host.lower(), f"{host}:{url.port}".lower()})

    def holds(self, address: str) -> bool:
        """Whether an IP address lies in a listed network, also as an IPv4-mapped IPv6 address."""
        if not self.networks:
            return False
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        plain = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(plain in network for network in self.networks)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingPolicy:
    """Where outgoing calls may go: public hosts on `ports`, and the operator's `allow` list."""

    allow: AllowList = AllowList()
    ports: frozenset[int] = frozenset({80, 443})


def checked_url(text: str, policy: OutgoingPolicy) -> tuple[URL, bool]:
    """The URL, and whether the operator's list names its host, which then need not be public. Raises UrlRefused."""
    try:
        url = URL(text)
    except ValueError:
        raise UrlRefused("the URL is malformed") from None
    if url.scheme not in _SCHEMES or not url.host or url.port is None:
        raise UrlRefused("the URL must start with http:// or https:// and name a host")
    if url.user is not None or url.password is not None:
        raise UrlRefused("the URL must not hold a user or a password")
    if policy.allow.names(url):
        return url, True
    if url.port not in policy.ports:
        allowed = ", ".join(map(str, sorted(policy.ports)))
        raise UrlRefused(f"the URL's port {url.port} is not allowed; allowed are {allowed}")
    if not _is_canonical(url.host):
        raise UrlRefused("the URL's host is an address in an unusual spelling")
    if not _can_be_resolved(url.raw_host or ""):
        raise UrlRefused("the URL's host is no name that a server can have")
    return url, False


def _is_canonical(host: str) -> bool:
    """Resolvers read `127.1`, `2130706433` and `0x7f000001` as addresses.

    The WHATWG URL standard takes every host whose last label is a number for an IPv4 address.
    """
    if ":" in host or not _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return True
    try:
        return str(IPv4Address(host)) == host
    except ValueError:
        return False


def _can_be_resolved(host: str) -> bool:
    """RFC 1035: labels of 1 to 63 characters. A name with a space would only fail with every call. `host`: in ASCII."""
    labels = host.removesuffix(".").split(".")
    return ":" in host or (len(host) <= MAX_HOST and all(_LABEL.fullmatch(label) for label in labels))


def is_same_origin(one: URL, other: URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
