"""Pure: web origins, as a publishable key lists them and as browsers send them (RFC 6454)."""

import re
from typing import Final

# A host name, an IPv4 address or an IPv6 address in brackets. Internationalised names are written as browsers send
# them (`xn--…`).
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
ANY_LOCAL_PORT: Final = "http://localhost:*"
_LOCAL: Final = re.compile(r"http://localhost(?::[0-9]{1,5})?")


def origin_of(text: str, *, test: bool) -> str:
    """The origin in the form in which browsers send it. Raises ValueError with what is wrong, for people.

    `http://localhost:*` stands for every port, and only keys of the environment `test` may list it.
    """
    lowered = text.lower()
    if lowered == ANY_LOCAL_PORT:
        if not test:
            raise ValueError("http://localhost:* is for keys of the environment test")
        return lowered
    if lowered == "null" or "*" in lowered:
        raise ValueError("an origin is one scheme, host and port; null and wildcards are refused")
    found = _ORIGIN.fullmatch(lowered)
    if found is None or ".." in found["host"]:
        raise ValueError("an origin is a scheme, a host and a port, such as https://www.example.com, without a path")
    port = found["port"]
    if port is None or port == _DEFAULT_PORTS[found["scheme"]]:
        return f"{found['scheme']}://{found['host']}"
    if not 1 <= int(port) <= 65_535:
        raise ValueError("a port is a number from 1 to 65535")
    return f"{found['scheme']}://{found['host']}:{int(port)}"


def is_allowed(origin: str, allowed: tuple[str, ...]) -> bool:
    """Whether a request's `Origin` is one of these. Compared exactly: browsers send origins in lower case."""
    return origin in allowed or (ANY_LOCAL_PORT in allowed and _LOCAL.fullmatch(origin) is not None)
