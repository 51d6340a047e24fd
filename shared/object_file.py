"""Files of settings that hold one object: JSON, or TOML if the name says so."""

import tomllib
from pathlib import Path
from typing import Any

import orjson


def read_object(path: Path) -> dict[str, Any]:
    """Raises ValueError, whose text names the file and no value."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    try:
        found = tomllib.loads(content.decode()) if path.suffix == ".toml" else orjson.loads(content)
    except ValueError as error:
        raise ValueError(f"the file {path} is not valid: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"the file {path} must hold an object")
    return found
