"""The files that a Node build has written: read once per process, served packed, under names that never change."""

from pathlib import Path
from typing import Final, NamedTuple

import orjson
from aiohttp import web

from shared.web.middleware import Handler

FOREVER: Final = "public, max-age=31536000, immutable"
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


def read_assets(dist: Path) -> dict[str, Asset]:
    """By their names without a hash, such as `frame.js`."""
    manifest = orjson.loads((dist / "manifest.json").read_bytes())
    return {name: _asset(dist, name, entry) for name, entry in manifest.items()}


def _asset(dist: Path, name: str, entry: dict[str, str]) -> Asset:
    file = dist / entry["file"]
    packed = file.with_name(f"{file.name}.gz").read_bytes()
    return Asset(file.name, entry["integrity"], _TYPES[Path(name).suffix], file.read_bytes(), packed)


def serve_asset(asset: Asset, kept: str = FOREVER, headers: dict[str, str] | None = None) -> Handler:
    """`kept` is its `Cache-Control`."""

    async def serve(request: web.Request) -> web.StreamResponse:
        own = {"Cache-Control": kept, "ETag": asset.etag, "Vary": "Accept-Encoding", **(headers or {})}
        if request.headers.get("If-None-Match") == asset.etag:
            return web.Response(status=304, headers=own)
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        if packed:
            own["Content-Encoding"] = "gzip"
        body = asset.gzip if packed else asset.body
        return web.Response(body=body, headers={**own, "Content-Type": asset.media_type})

    return serve
