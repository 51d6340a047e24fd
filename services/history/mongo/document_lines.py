"""A document as a line of JSON and back, without loss: dates, 64-bit integers and bytes carry a tag.

A document that JSON cannot hold (its own members look like a tag, or a number is not finite) is written as BSON.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import bson
import orjson
from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.int64 import Int64

from services.history.mongo.filters import Document

# Without these options orjson would write dates and subclasses in forms of its own, which nobody could tell from text.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_BSON: Final = "$bson"
_CODEC: Final = CodecOptions(document_class=dict, tz_aware=True)


def line_of(document: Document) -> bytes:
    """JSON in UTF-8 with a line feed at its end."""
    try:
        line = orjson.dumps(document, _tagged, _OPTIONS)
        if _untagged(orjson.loads(line)) == document:
            return line + b"\n"
    # A member of a stranger's may look like a date that lies beyond the calendar.
    except (TypeError, ValueError, OverflowError):
        pass
    return orjson.dumps({_BSON: b64encode(bson.encode(document)).decode()}) + b"\n"


def document_of(line: bytes) -> Document:
    """Raises ValueError for a line that `line_of` does not write."""
    found = orjson.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is no document")
    try:
        if found.keys() == {_BSON}:
            return dict(bson.decode(b64decode(found[_BSON]), codec_options=_CODEC))
        return {name: _untagged(value) for name, value in found.items()}
    except (TypeError, OverflowError, bson.errors.BSONError) as error:
        raise ValueError("a line is no document") from error


def _tagged(value: Any) -> Any:
    """Raises TypeError for what has no tag."""
    if isinstance(value, datetime):
        return {"$date": (value - _EPOCH) // _MILLISECOND}
    if isinstance(value, Int64):
        return {"$int64": int(value)}
    if isinstance(value, bytes):
        subtype = value.subtype if isinstance(value, Binary) else 0
        return {"$binary": [subtype, b64encode(value).decode()]}
    raise TypeError(type(value).__name__)


def _bytes(value: Any) -> bytes:
    subtype, text = value
    raw = b64decode(text)
    return Binary(raw, subtype) if subtype else raw


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$date": lambda value: _EPOCH + value * _MILLISECOND,
    "$int64": Int64,
    "$binary": _bytes,
}


def _untagged(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1:
            ((name, inner),) = value.items()
            if name in _READERS:
                return _READERS[name](inner)
        return {name: _untagged(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_untagged(inner) for inner in value]
    return value
