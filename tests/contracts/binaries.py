"""Long binary values of recorded documents, deflated: an index file is a hundred times its content."""

import zlib
from base64 import b64decode, b64encode
from typing import Any, Final

_BINARY: Final = "$binary"
_DEFLATED: Final = "$deflated"
# Characters of base64 from which on a value is deflated; shorter ones stay as MongoDB's extended JSON has them.
LONG: Final = 4096


def deflated(value: Any) -> Any:
    """MongoDB's extended JSON with its long binary values made short."""
    if isinstance(value, dict):
        binary = value.get(_BINARY)
        if isinstance(binary, dict) and len(binary["base64"]) >= LONG:
            packed = zlib.compress(b64decode(binary["base64"]), 9)
            return {_DEFLATED: {**binary, "base64": b64encode(packed).decode()}}
        return {name: deflated(each) for name, each in value.items()}
    return [deflated(each) for each in value] if isinstance(value, list) else value


def inflated(value: Any) -> Any:
    """The reverse."""
    if isinstance(value, dict):
        binary = value.get(_DEFLATED)
        if isinstance(binary, dict):
            raw = zlib.decompress(b64decode(binary["base64"]))
            return {_BINARY: {**binary, "base64": b64encode(raw).decode()}}
        return {name: inflated(each) for name, each in value.items()}
    return [inflated(each) for each in value] if isinstance(value, list) else value
