"""Where the upstreams are described: `PARLEY_UPSTREAMS` is JSON text, or the path of a JSON or TOML file.

History and workers read the same description: history needs the names, only workers need the keys. So that the file
itself holds no secret, `apiKey` may refer to one: `env:NAME` is a variable of the worker, `file:PATH` a file that it
can read.
"""

from pathlib import Path
from typing import Any

import orjson

from shared.object_file import read_object


def described_upstreams(value: Any) -> dict[str, Any]:
    """The upstreams by name, not yet validated. Raises ValueError, whose text names the file and no value."""
    if isinstance(value, dict):
        return value
    text = str(value).strip()
    if not text:
        return {}
    if not text.startswith("{"):
        return _checked(read_object(Path(text)), f"the file {text}")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: line {error.lineno}, column {error.colno}") from None
    return _checked(found, "it")


def _checked(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise ValueError(f"{where} must hold an object per upstream, by name")
    return found
