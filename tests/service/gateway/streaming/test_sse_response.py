"""What bypasses aiohttp writes nothing without a body, after the end, or on another request's connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from services.gateway.streaming.sse_response import EventStream
from shared.web.middleware import request_middleware
from tests.conftest import eventually
from tests.service.gateway.served import served

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def connected(handler: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    app = web.Application(middlewares=[request_middleware])
    app.add_routes([web.get("/stream", handler), web.get("/next", _next)])
    async with served(app) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


async def _next(request: web.Request) -> web.Response:
    return web.Response(text="next")


def ask(writer: asyncio.StreamWriter, method: str, path: str) -> None:
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def until(reader: asyncio.StreamReader, mark: bytes) -> bytes:
    async with asyncio.timeout(30):
        return await reader.readuntil(mark)


@pytest.mark.parametrize("method", ["HEAD"])
async def test_a_response_without_a_body_is_never_written_to(method: str) -> None:
    refused = list[bool]()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await EventStream.start(request)
        refused.append(not stream.send_now(b"data: stray\n\n"))
        for write in (stream.send(b"data: stray\n\n"), stream.ping(), stream.end(b"data: stray\n\n")):
            with pytest.raises(ConnectionError):
                await write
        return stream.response

    async with connected(handler) as (reader, writer):
        ask(writer, method, "/stream")
        ask(writer, "GET", "/next")
        assert b"text/event-stream" in await until(reader, b"\r\n\r\n")
        assert (await until(reader, b"next")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert refused == [True]


async def test_an_ended_stream_refuses_every_write() -> None:
    kept = list[EventStream]()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await EventStream.start(request)
        await stream.end(b"data: last\n\n")
        kept.append(stream)
        assert not stream.send_now(b"data: stray\n\n")
        with pytest.raises(ConnectionError):
            await stream.send(b"data: stray\n\n")
        stream.abort()
        stream.break_off()
        return stream.response

    async with connected(handler) as (reader, writer):
        ask(writer, "GET", "/stream")
        assert (await until(reader, b"0\r\n\r\n")).endswith(b"data: last\n\n\r\n0\r\n\r\n")
        ask(writer, "GET", "/next")
        assert (await until(reader, b"next")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(kept) == 1


async def test_a_stream_whose_connection_serves_another_request_refuses_every_write() -> None:
    """A handler that leaves its stream to somebody else: the next request's answer must stay whole."""
    kept = list[EventStream]()

    async def handler(request: web.Request) -> web.StreamResponse:
        if kept:
            assert not kept[0].send_now(b"data: stray\n\n")
            with pytest.raises(ConnectionError):
                await kept[0].send(b"data: stray\n\n")
            kept[0].abort()
            kept[0].break_off()
            return web.Response(text="next")
        kept.append(await EventStream.start(request))
        assert kept[0].send_now(b"data: mine\n\n")
        return kept[0].response

    async with connected(handler) as (reader, writer):
        ask(writer, "GET", "/stream")
        assert b"data: mine\n\n" in await until(reader, b"0\r\n\r\n")
        assert not kept[0].send_now(b"data: stray\n\n")
        ask(writer, "GET", "/stream")
        assert (await until(reader, b"next")).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("error", [RuntimeError("broken"), TimeoutError(), web.HTTPNotFound()], ids=repr)
async def test_an_exception_after_the_headers_breaks_the_connection_and_writes_no_second_head(error: Exception) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await EventStream.start(request)
        await stream.send(b"data: first\n\n")
        raise error

    async with connected(handler) as (reader, writer):
        ask(writer, "GET", "/stream")
        async with asyncio.timeout(30):
            got = await _all_of(reader)
    assert got.count(b"HTTP/1.1") == 1
    assert not got.endswith(b"0\r\n\r\n")
    assert b"internal_error" not in got


async def test_a_second_response_after_the_headers_breaks_the_connection() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await EventStream.start(request)
        await stream.send(b"data: first\n\n")
        return web.Response(status=499)

    async with connected(handler) as (reader, writer):
        ask(writer, "GET", "/stream")
        async with asyncio.timeout(30):
            got = await _all_of(reader)
    assert got.count(b"HTTP/1.1") == 1


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    got = b""
    try:
        while piece := await reader.read(4096):
            got += piece
    except ConnectionResetError:
        pass
    return got


async def test_a_stream_that_is_broken_off_delivers_what_was_written_and_no_end() -> None:
    streams = list[EventStream]()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await EventStream.start(request)
        await stream.send(b"data: first\n\n")
        stream.break_off()
        streams.append(stream)
        return stream.response

    async with connected(handler) as (reader, writer):
        ask(writer, "GET", "/stream")
        async with asyncio.timeout(30):
            got = await _all_of(reader)
        await eventually(lambda: streams)
    assert got.endswith(b"data: first\n\n\r\n")
