"""The built files of the widget, read once per process. `npm run build` in this folder writes them."""

from functools import cache
from pathlib import Path
from typing import Final

from services.gateway.edge.built_files import Asset, read_assets

DIST: Final = Path(__file__).with_name("dist")


@cache
def assets() -> dict[str, Asset]:
    """By their names without a hash: `loader.js`, `frame.js`, `frame.css`."""
    return read_assets(DIST)
