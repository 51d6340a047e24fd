"""Ids: a prefix and 26 characters that sort by time."""

import re
import secrets
import time

# Crockford's base 32 in lower case: no i, l, o, u, and its order is the order of the numbers.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SHAPE = re.compile(r"(agt|ses|trn|msg|key|src|whk|req)_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str) -> str:
    """`<prefix>_` and 26 characters: 48 bits of milliseconds, then 80 random bits (the layout of a ULID)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the shape of an id of this kind. Only such texts may reach a header, a key or a query."""
    return text.startswith(prefix + "_") and _SHAPE.fullmatch(text) is not None
