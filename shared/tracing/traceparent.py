"""The header `traceparent` of W3C Trace Context, read strictly: it comes from clients and goes into stores and logs."""

import re
from typing import Final

HEADER: Final = "traceparent"
# Version 00 in full. What a later version appends is ignored, as the recommendation asks.
_HEADER: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# Of version 00; a longer header is not looked at.
LENGTH: Final = 55
MAX_LENGTH: Final = 256


def valid(header: str) -> str:
    """The header in version 00, or "" where it cannot be used."""
    if not LENGTH <= len(header) <= MAX_LENGTH:
        return ""
    found = _HEADER.fullmatch(header)
    if found is None or (header.startswith("00") and found[4] is not None):
        return ""
    return f"00-{found[1]}-{found[2]}-{int(found[3], 16) & 1:02x}"


def trace_id_of(traceparent: str) -> str | None:
    """The trace's id: 32 hexadecimal digits."""
    return traceparent[3:35] if len(traceparent) == LENGTH else None
