"""Addresses that are stored, to be called later: what can be told of them without a look-up is told at once.

The same rules are applied to each call, with the address that the host has then (`guarded_client.py`).
"""

import ipaddress

from yarl import URL

from shared.web.guard import may_reach
from shared.web.guard_rules import OutgoingPolicy, UrlRefused, checked_url


def checked_stored_url(text: str, policy: OutgoingPolicy) -> tuple[URL, bool]:
    """As `checked_url`, and refuses a host that is an address which no connection may reach. Raises UrlRefused."""
    url, is_listed = checked_url(text, policy)
    host = str(url.host)
    if not is_listed and _is_address(host) and not may_reach(policy)(host):
        raise UrlRefused("the URL's host is an address that is not public, and that the server does not allow")
    return url, is_listed


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
