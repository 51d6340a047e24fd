"""Attacks on the HTTP protocol itself: smuggled requests, slow and endless ones, bombs, floods on one connection."""

import asyncio
import gzip
import io
import time

import aiohttp.http_parser
import pytest
from aiohttp import web

from shared.web import bodies
from shared.web.server import QuietRunner
from tests.service.gateway.fakes import Stage

HEAD = b"POST /api/v1/chat/sessions HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /api/v1/models HTTP/1.1\r\nHost: smuggled\r\n\r\n"
# What proxies and servers have been known to read differently: each is refused, and nothing behind it is read.
BROKEN = {
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "signed length": HEAD + b"Content-Length: +5\r\n\r\nhello",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "length in hex": HEAD + b"Content-Length: 0x5\r\n\r\nhello",
    "other coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded header": HEAD + b"X-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /api/v1/models HTTP/1.1\nHost: x\n\n",
    "two hosts": b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET /api/v1/models HTTP/1.1\r\n\r\n",
    "bad chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "huge chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nhello\r\n",
    "line feed in a chunk extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "long header": b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\n" + b"X-A: 1\r\n" * 5_000 + b"\r\n",
    "long url": b"GET /api/v1/models?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in a header": b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
    "no version": b"GET /api/v1/models HTTP/9.9\r\nHost: x\r\n\r\n",
    "no method": b" /api/v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200,
    "noise": bytes(range(256)) * 4,
}


def address_of(base: str) -> tuple[str, int]:
    host, _, port = base.removeprefix("http://").partition(":")
    return host, int(port)


async def said(base: str, data: bytes, *, within_s: float = 5.0) -> bytes:
    """All that the server answers before it closes the connection."""
    reader, writer = await asyncio.open_connection(*address_of(base))
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), within_s)
    except ConnectionError:
        return b""  # It may close while the rest is still on its way.
    finally:
        writer.close()


def test_requests_are_parsed_by_the_c_parser() -> None:
    assert aiohttp.http_parser.HttpRequestParser is not aiohttp.http_parser.HttpRequestParserPy


@pytest.mark.parametrize("attack", BROKEN)
async def test_a_request_that_others_may_read_differently_is_refused_and_nothing_behind_it_is_read(
    gateway: Stage, attack: str
) -> None:
    answer = await said(gateway.base, BROKEN[attack] + SMUGGLED)
    assert answer.count(b"HTTP/1.") <= 1
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] in (b"400", b"413", b"414", b"431"), head
        assert b'"code":' in body
        lower = head.lower()
        assert b"\r\nserver:" not in lower
        assert b"nosniff" in lower
        assert b"no-store" in lower
        assert b"x-request-id" in lower


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/nowhere"),
        ("GET", "/api/v1/models"),
        ("POST", "/api/v1/models"),
        ("GET", "/metrics"),
    ],
)
async def test_no_answer_names_its_server(gateway: Stage, method: str, path: str) -> None:
    async with gateway.client.request(method, gateway.base + path) as response:
        assert "Server" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if response.content_type.endswith("json"):
            assert response.headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


async def test_requests_in_a_row_on_one_connection_are_answered_in_order(gateway: Stage) -> None:
    paths = [b"/healthz", b"/nowhere"] * 100
    data = b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths[:-1])
    answer = await said(gateway.base, data + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404"] * 100


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "zstd"])
async def test_a_compressed_body_is_refused_unread(gateway: Stage, coding: str) -> None:
    bomb = gzip.compress(b"0" * 20_000_000)
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    async with gateway.client.post(gateway.url("/chat/sessions"), data=bomb, headers=headers) as response:
        assert response.status in (400, 413, 415)


async def test_a_body_over_the_limit_is_refused(gateway: Stage) -> None:
    headers = {"Content-Type": "application/json"}
    async with gateway.client.post(
        gateway.url("/chat/sessions"), data=io.BytesIO(b" " * 2_000_000), headers=headers
    ) as response:
        assert response.status == 413


async def test_a_body_that_never_comes_is_given_up(gateway: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.3)
    key = f"Authorization: Bearer {gateway.key}\r\nContent-Type: application/json\r\n".encode()
    answer = await said(gateway.base, HEAD + key + b'Content-Length: 100\r\n\r\n{"agen', within_s=10.0)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer


async def test_headers_that_never_end_cost_no_connection_for_long() -> None:
    """As slowloris sends them: a connection that says a little now and then is closed all the same."""
    runner = QuietRunner(web.Application(), keepalive_s=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    host, port = runner.addresses[0][:2]
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        closed, started = asyncio.create_task(reader.read()), time.monotonic()
        while not closed.done():
            assert time.monotonic() - started < 20.0, "the connection is still open"
            writer.write(b"X-A: 1\r\n")
            await asyncio.wait([closed], timeout=0.1)
        writer.close()
    finally:
        await runner.cleanup()
