"""URL and sitemap sources: read through the guard, within limits, and read again on a schedule."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from deploy.local.processes import free_port
from services.agent_worker.ingest import pages
from shared.web.process import app_runner, listening
from tests.conftest import eventually
from tests.service.history.knowledge.sources import Knowledge

PAGE = "<html><head><title>Ferry</title></head><body><main><p>The ferry leaves at {}.</p></main></body></html>"


class Site:
    """A site on loopback, which the tests' policy allows by name."""

    def __init__(self) -> None:
        self.base = ""
        self.time = "noon"
        self.reads = 0
        self.unchanged = 0

    async def page(self, request: web.Request) -> web.Response:
        tag = f'"{self.time}"'
        if request.headers.get("If-None-Match") == tag:
            self.unchanged += 1
            return web.Response(status=304)
        self.reads += 1
        return web.Response(text=PAGE.format(self.time), content_type="text/html", headers={"ETag": tag})

    async def sitemap(self, _: web.Request) -> web.Response:
        urls = [f"{self.base}/page", f"{self.base}/gone", "http://other.example/page"]
        text = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
        return web.Response(text=f"<urlset>{text}</urlset>", content_type="application/xml")

    async def inwards(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    async def bomb(self, _: web.Request) -> web.Response:
        body = gzip.compress(bytes(60 << 20))
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"<p>more</p>")
                await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.CancelledError):
            return response


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    site, port = Site(), free_port()
    site.base = f"http://127.0.0.1:{port}"
    app = web.Application()
    app.add_routes([web.get(f"/{name}", getattr(site, name)) for name in "page sitemap inwards bomb endless".split()])
    async with listening(app_runner(app), "127.0.0.1", port):
        yield site


async def test_a_page_is_read_and_its_passages_point_to_it(knowledge: Knowledge) -> None:
    async with serving() as site:
        source = await knowledge.ended(await knowledge.url(f"{site.base}/page"))
        assert (source.state, source.title) == ("indexed", "Ferry"), source.reason
        version = await knowledge.publish()
    (passage,) = await knowledge.passages(version.number)
    assert (passage.title, passage.url) == ("Ferry", f"{site.base}/page")
    assert "noon" in passage.text


async def test_the_pages_of_a_sitemap_are_read_and_what_is_gone_is_left_out(knowledge: Knowledge) -> None:
    async with serving() as site:
        source = await knowledge.ended(await knowledge.url(f"{site.base}/sitemap", kind="sitemap"))
    assert (source.state, source.passages) == ("indexed", 1), source.reason


async def test_hostile_addresses_fail_with_a_reason(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_TIMEOUT_S", 2.0)
    expected = {"inwards": "not allowed", "bomb": "larger than 25 MiB", "endless": "did not arrive", "absent": "404"}
    async with serving() as site:
        for name, reason in expected.items():
            source = await knowledge.ended(await knowledge.url(f"{site.base}/{name}"))
            assert source.state == "failed"
            assert reason in (source.reason or ""), source.reason
        metadata = await knowledge.ended(await knowledge.url("http://169.254.169.254/latest"))
        assert "not allowed" in (metadata.reason or "")


async def test_a_source_is_read_again_on_its_schedule_and_only_when_it_changed(knowledge: Knowledge) -> None:
    sources = knowledge.history.documents.sources

    async def make_due(source_id: str) -> None:
        await sources.update_one({"_id": source_id}, {"$set": {"refreshAt": datetime.now(UTC)}})

    async with serving() as site:
        source = await knowledge.ended(await knowledge.url(f"{site.base}/page", refresh_hours=1))
        one = await knowledge.publish()
        await make_due(source.id)
        await eventually(lambda: site.unchanged == 1, what="a conditional request")
        assert (await knowledge.ended(source)).passages == 1
        assert (await knowledge.publish()).number == one.number
        site.time = "midnight"
        await make_due(source.id)
        await eventually(lambda: site.reads == 2, what="another reading")
        await knowledge.ended(source)
        two = await knowledge.publish()
    assert ["noon" in row.text for row in await knowledge.passages(one.number)] == [True]
    assert ["midnight" in row.text for row in await knowledge.passages(two.number)] == [True]
