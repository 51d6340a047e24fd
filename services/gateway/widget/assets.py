"""The built files of the widget, read once per process. `npm run build` in this folder writes them."""

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import orjson

DIST: Final = Path(__file__).with_name("dist")
_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


class Asset(NamedTuple):
    """`file` has the content's hash in its name, so it never changes. `integrity` is for a page that pins it."""

    file: str
    integrity: str
    media_type: str
    body: bytes
    gzip: bytes

    @property
    def etag(self) -> str:
        return f'"{self.file.split(".")[1]}"'


@cache
def assets() -> dict[str, Asset]:
    """By their names without a hash: `loader.js`, `frame.js`, `frame.css`."""
    manifest = orjson.loads((DIST / "manifest.json").read_bytes())
    return {name: _asset(name, entry) for name, entry in manifest.items()}


def _asset(name: str, entry: dict[str, str]) -> Asset:
    file = DIST / entry["file"]
    packed = file.with_name(f"{file.name}.gz").read_bytes()
    return Asset(file.name, entry["integrity"], _TYPES[Path(name).suffix], file.read_bytes(), packed)
