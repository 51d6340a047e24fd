"""Ids: a prefix and 26 characters that sort by time."""

import hashlib
import os
import re
import secrets
import socket
import time

from shared.contracts.schema import NAME_PATTERN

# Crockford's base 32 in lower case: no i, l, o, u, and its order is the order of the numbers.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS = 10
_NAME = re.compile(NAME_PATTERN)
_SHAPE = re.compile(r"(agt|ses|trn|msg|key|src|whk|req|aud|chk|era|exp|vis|ids|evt|mcp)_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str) -> str:
    """`<prefix>_` and 26 characters: 48 bits of milliseconds, then 80 random bits (the layout of a ULID)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def process_name() -> str:
    """A name that no other process has or had: host, process id and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the shape of an id of this kind. Only such texts may reach a header, a key or a query."""
    return text.startswith(prefix + "_") and _SHAPE.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether `text` may name a workspace, or stand in a path of the internal API."""
    return _NAME.fullmatch(text) is not None


def time_of(some_id: str) -> int:
    """The milliseconds at which an id was made: its first ten digits in base 32."""
    number = 0
    for digit in some_id.partition("_")[2][:_TIME_DIGITS]:
        number = number << 5 | _ALPHABET.index(digit)
    return number


def id_at(prefix: str, time_ms: int) -> str:
    """The smallest id of that millisecond."""
    return f"{prefix}_" + "".join(_ALPHABET[time_ms >> shift & 31] for shift in range(45, -1, -5)) + "0" * 16


def id_from(prefix: str, number: int) -> str:
    """An id whose random part is this number of 80 bits, and whose time is the beginning: the same for each caller."""
    return f"{prefix}_" + "0" * _TIME_DIGITS + "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))


def derived_id(prefix: str, origin: str, *names: str) -> str:
    """An id with the time of the id `origin`, and with a random part that is made of the names.

    Whoever derives it again gets the same one. Without all of the names nobody can guess it.
    """
    number = int.from_bytes(hashlib.sha256("\0".join((prefix, origin, *names)).encode()).digest()[:10], "big")
    random_part = "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))
    return id_at(prefix, time_of(origin))[: -len(random_part)] + random_part
