"""Which addresses an outgoing connection may reach: public ones, plus what the operator allows.

Connections to every address that an agent's author can choose use these sockets. An address is judged just before
its socket is made. A literal, an unusual spelling, a redirect and a name that changes its address between two look-
ups all meet the same guard.
"""

import ipaddress
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from aiohttp.connector import AddrInfoType

from shared.web.guard_rules import OutgoingPolicy

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
# The last 32 bits of these prefixes are an IPv4 address that a router or a gateway may deliver to.
_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
_6TO4: Final = ipaddress.IPv6Network("2002::/16")
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")


class AddressRefused(OSError):
    """The guard does not allow a connection to this address."""


def is_public(address: str) -> bool:
    """Whether an IP address is a public unicast address, also when another address embeds it.

    Unreadable text is not.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    embedded = embedded_addresses(parsed) if isinstance(parsed, IPv6Address) else []
    return all(_is_plainly_public(each) for each in (parsed, *embedded))


def _is_plainly_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and any(address in network for network in _EMBEDDING):
        return True  # The embedded IPv4 address decides.
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


def may_reach(policy: OutgoingPolicy, is_allowed: Callable[[str], bool] = is_public) -> Callable[[str], bool]:
    """Whether a host that the operator's list does not name may have an address."""
    return lambda address: is_allowed(address) or policy.allow.holds(address)


def guarded_sockets(is_allowed: Callable[[str], bool] = is_public) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory for aiohttp's TCPConnector. It raises AddressRefused for an address that is not allowed."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if not is_allowed(str(address[0])):
            raise AddressRefused("only public addresses may be connected to")
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
