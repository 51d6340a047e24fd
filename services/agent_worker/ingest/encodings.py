"""Bytes as text: by their byte order mark, a declaration, or the statistics of their characters."""

import codecs
import re
from typing import Final

from charset_normalizer import from_bytes

from services.agent_worker.ingest.blocks import Unreadable

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED: Final = re.compile(
    rb"""<(?:meta[^>]{0,200}?|\?xml[^>]{0,100}?)(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE
)
_HEAD: Final = 4096
# The detector reads samples of what it is given; more bytes cost time and tell little.
_SAMPLE: Final = 64 << 10
# Control characters that no text has.
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def declared(raw: bytes) -> str | None:
    found = _DECLARED.search(raw[:_HEAD])
    return found[1].decode("ascii") if found else None


def decoded(raw: bytes, charset: str | None = None) -> str:
    """Raises Unreadable for bytes that are no text."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _clean(raw.decode(name, "replace"))
    if (text := _strictly(raw, "utf-8")) is not None and "\0" not in text:
        return _clean(text)
    if charset is not None and (text := _strictly(raw, charset)) is not None:
        return _clean(text)
    if (wide := _unmarked_utf16(raw)) is not None and (text := _strictly(raw, wide)) is not None:
        return _clean(text)
    if len(_BINARY.findall(raw[:_SAMPLE])) * 50 > len(raw[:_SAMPLE]):
        raise Unreadable("This is not text: it has bytes of a binary format that is not supported.")
    best = from_bytes(raw[:_SAMPLE]).best()
    return _clean(raw.decode(best.encoding if best else "cp1252", "replace"))


def _strictly(raw: bytes, charset: str) -> str | None:
    try:
        return raw.decode(charset)
    except (LookupError, ValueError):
        return None


def _unmarked_utf16(raw: bytes) -> str | None:
    """Text of which every second byte is 0 has no other explanation."""
    sample = raw[: _HEAD & ~1]
    half = len(sample) // 2
    if half and sample[1::2].count(0) * 10 > half * 7:
        return "utf-16-le"
    return "utf-16-be" if half and sample[::2].count(0) * 10 > half * 7 else None


def _clean(text: str) -> str:
    """Text that every store can hold: no NUL, no halves of surrogate pairs."""
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    return text.encode("utf-8", "replace").decode()
