"""The content of URL and sitemap sources, fetched through the guard of the operator's network."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from services.agent_worker.ingest.blocks import Unreadable
from services.agent_worker.ingest.extraction import Input
from shared.contracts.knowledge import MAX_UPLOAD, IngestJob
from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure

PAGE_TIMEOUT_S: Final = 60.0
MAX_PAGES: Final = 200
MAX_SITEMAPS: Final = 20
MAX_SITEMAP: Final = 5 << 20
TOTAL_TIMEOUT_S: Final = 600.0
_LOCATION: Final = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*([^<\]\s]{1,2000})\s*(?:\]\]>)?\s*</loc>", re.IGNORECASE)
_ACCEPT: Final = "text/html, application/xhtml+xml, text/markdown, text/plain;q=0.9, application/pdf;q=0.9, */*;q=0.5"


class Unchanged(Exception):
    """The page has not changed since its last reading."""


class Pages:
    def __init__(self, client: GuardedClient) -> None:
        self._client = client

    async def fetch(self, job: IngestJob, directory: Path) -> tuple[list[Input], str | None]:
        """The page, or the pages of a sitemap, and the entity tag of a single page. Raises Unreadable, Unchanged."""
        assert job.url is not None
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                if job.kind == "sitemap":
                    return await self._sitemap(job.url, directory), None
                return await self._single(job.url, directory, job.etag)
        except TimeoutError:
            raise Unreadable("Fetching its pages took more than ten minutes.") from None

    async def _single(self, url: str, directory: Path, etag: str | None) -> tuple[list[Input], str | None]:
        given, tag = await self._page(url, directory / "page", etag)
        return [given], tag

    async def _sitemap(self, url: str, directory: Path) -> list[Input]:
        """A page that cannot be read is left out, unless all are."""
        found: list[Input] = []
        failure: Unreadable | None = None
        for index, location in enumerate(await self._locations(url, directory)):
            try:
                given, _ = await self._page(location, directory / f"page-{index}", None)
                found.append(given)
            except Unreadable as error:
                failure = failure or error
        if not found:
            raise failure or Unreadable("The sitemap names no page of its own host.")
        return found

    async def _locations(self, url: str, directory: Path) -> list[str]:
        """Pages of the sitemap's own origin. An index of sitemaps is followed one level deep."""
        origin = URL(url).origin()
        pages: dict[str, None] = {}
        waiting, seen = [(url, 0)], 0
        while waiting and seen < MAX_SITEMAPS and len(pages) < MAX_PAGES:
            (address, depth), seen = waiting.pop(0), seen + 1
            text = await self._text(address, directory / "sitemap")
            locations = [unescape(each) for each in _LOCATION.findall(text)]
            same = [each for each in locations if _origin(each) == origin]
            if "<sitemapindex" in text[:2000].lower():
                waiting += [(each, depth + 1) for each in same if depth == 0]
            else:
                pages |= dict.fromkeys(same)
        return list(pages)[:MAX_PAGES]

    async def _text(self, url: str, path: Path) -> str:
        await self._download(Outgoing(method="GET", url=url), path, MAX_SITEMAP)
        return (await asyncio.to_thread(path.read_bytes)).decode("utf-8", "replace")

    async def _page(self, url: str, path: Path, etag: str | None) -> tuple[Input, str | None]:
        headers = {"Accept": _ACCEPT} | ({"If-None-Match": etag} if etag else {})
        response = await self._download(Outgoing(method="GET", url=url, headers=headers), path, MAX_UPLOAD)
        if response.status == 304:
            raise Unchanged
        given = Input(
            path=str(path),
            name=URL(url).name,
            content_type=response.content_type,
            charset=response.charset,
            url=url,
            faq=False,
        )
        tag = response.headers.get("ETag", "")
        return given, tag if 0 < len(tag) <= 500 else None

    async def _download(self, request: Outgoing, path: Path, limit: int) -> aiohttp.ClientResponse:
        """The limit counts bytes after decompression, as they come."""
        try:
            async with asyncio.timeout(PAGE_TIMEOUT_S), self._client.open(request) as response:
                if response.status not in (200, 304):
                    raise Unreadable(f"The address answered with HTTP status {response.status}.")
                size = 0
                with path.open("wb") as file:
                    async for piece in response.content.iter_any():
                        size += len(piece)
                        if size > limit:
                            response.close()
                            raise Unreadable(f"The page is larger than {limit >> 20} MiB.")
                        file.write(piece)
                return response
        except TimeoutError:
            raise Unreadable(f"The page did not arrive within {PAGE_TIMEOUT_S:g} seconds.") from None
        except OutgoingFailure as failure:
            raise Unreadable(str(failure)) from None


def _origin(text: str) -> URL | None:
    try:
        return URL(text).origin()
    except ValueError:
        return None
