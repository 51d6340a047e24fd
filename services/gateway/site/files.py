"""One file of the site as the gateway holds it: its bytes, plain and packed, and its ETag."""

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from services.gateway.site.tables import with_html_tables, with_markdown_tables

_FOLDER: Final = Path(__file__).parent
DIST: Final = _FOLDER / "dist"
GUIDES: Final = _FOLDER / "guides"
# Its place in the home page.
_PAGES: Final = "<!-- pages -->"
ASSETS: Final = _FOLDER / "assets"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
}


class SiteFile(NamedTuple):
    media_type: str
    packed: bytes
    etag: str

    @property
    def body(self) -> bytes:
        """Nearly all clients take the packed bytes, so the plain ones are not kept."""
        return gzip.decompress(self.packed)


@cache
def files() -> dict[str, SiteFile]:
    """By their paths, such as `/docs/quickstart`. Read once per process."""
    guides = sorted(path.stem for path in GUIDES.glob("*.md"))
    return {
        "/": home({}),
        "/docs": _page(DIST / "contents.html"),
        "/docs/reference": _page(DIST / "reference.html"),
        "/docs/search.json": _page(DIST / "search.json"),
        "/llms.txt": _page(DIST / "llms.txt"),
        **{f"/docs/{name}": _page(DIST / f"guide-{name}.html") for name in guides},
        **{f"/docs/{name}.md": _page(GUIDES / f"{name}.md") for name in guides},
        **{f"/docs/assets/{name}": _page(ASSETS / name) for name in ("site.css", "site.js", "reference.js")},
        "/docs/assets/scalar.js": _packed((ASSETS / "scalar.js.gz").read_bytes(), ".js"),
    }


def home(pages: Mapping[str, str]) -> SiteFile:
    """The home page with links to further pages, whose titles are given by their paths."""
    links = "".join(f'\n<a class="button" href="{path}">{escape(title)}</a>' for path, title in pages.items())
    text = (DIST / "home.html").read_text("utf-8").replace(_PAGES, links)
    return _packed(gzip.compress(text.encode(), mtime=0), ".html")


def _page(path: Path) -> SiteFile:
    text = path.read_text("utf-8")
    if path.suffix == ".html":
        text = with_html_tables(text)
    if path.suffix == ".md":
        text = with_markdown_tables(text)
    # mtime 0: the same bytes, and so the same ETag, in every gateway.
    return _packed(gzip.compress(text.encode(), mtime=0), path.suffix)


def _packed(packed: bytes, suffix: str) -> SiteFile:
    return SiteFile(_TYPES[suffix], packed, f'"{hashlib.sha256(packed).hexdigest()[:16]}"')
