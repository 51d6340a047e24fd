"""Recorded messages as files: ids and times that do not change with each recording, and no two of one shape."""

import json
import re
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

# When the recording ended, in every recorded text. What came before keeps its distance.
END: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ID: Final = re.compile(r"\b([a-z]{3})_([0-9a-z]{26})\b")
_TIME: Final = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)")
_MS: Final = re.compile(r"(?<![\w.-])(1[789]\d{11})(?![\w.])")
_SIGNING_SECRET: Final = re.compile(r"\bwhsec_[\w+/=-]+")
# Messages of one shape that are kept.
KEPT: Final = 1


def normal(text: str, ended_at: datetime) -> str:
    """The JSON text with ids by their rank and times moved, and without the secrets of webhooks."""
    text = _TIME.sub(lambda found: _moved(found[0], END - ended_at), text)
    shift_ms = int((END - ended_at) / timedelta(milliseconds=1))
    text = _MS.sub(lambda found: str(int(found[1]) + shift_ms), text)
    # Nobody signs with it; but it looks like a secret that somebody has lost.
    text = _SIGNING_SECRET.sub("whsec_recorded", text)
    # Claim ids begin with the host's name.
    text = text.replace(f"{socket.gethostname()}:", "host:")
    ranks = {each: rank for rank, each in enumerate(sorted({found[2] for found in _ID.finditer(text)}), 1)}
    return _ID.sub(lambda found: f"{found[1]}_01m8{ranks[found[2]]:022d}", text)


def _moved(text: str, by: timedelta) -> str:
    moved = datetime.fromisoformat(text) + by
    return moved.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moved.microsecond // 1000:03d}Z"


def now_again(text: str, now: datetime) -> str:
    """A recorded text as if the recording had ended now."""
    text = _TIME.sub(lambda found: _moved(found[0], now - END), text)
    shift_ms = int((now - END) / timedelta(milliseconds=1))
    return _MS.sub(lambda found: str(int(found[1]) + shift_ms), text)


def shape_of(value: Any) -> Any:
    """Equal for values with the same members of the same types. A list has the shapes of its items."""
    if isinstance(value, dict):
        return tuple((name, shape_of(each)) for name, each in sorted(value.items()))
    if isinstance(value, list):
        return tuple(sorted({repr(shape_of(each)) for each in value}))
    return type(value).__name__


def template_of(path: str) -> str:
    """The path with its ids and numbers left out."""
    return re.sub(r"/\d+(?=/|$)", "/0", _ID.sub(r"\1", path))


def unlike(messages: Iterable[tuple[Any, Any]]) -> list[Any]:
    """Of (what it is, message) the first of each shape."""
    seen = dict[str, int]()
    found = list[Any]()
    for about, message in messages:
        key = repr((about, shape_of(message)))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= KEPT:
            found.append(message)
    return found


def one_a_line(rows: Iterable[Any]) -> str:
    """A JSON list with one item a line: a change shows as a line in a diff."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows) + "\n]\n"
