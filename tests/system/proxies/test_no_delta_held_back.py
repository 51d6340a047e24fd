"""No proxy of deploy/proxies holds a delta back: the next one is sent only after the client has seen the one before."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import eventually
from tests.system.proxies.running import Proxy
from tests.system.proxies.upstream import DELTAS, Held, delta, held_upstreams

PROXIES = ("nginx", "nginx_gzip_buffering", "caddy", "haproxy")


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    async with held_upstreams() as held:
        yield held


@pytest.fixture(params=PROXIES)
async def proxy(request: pytest.FixtureRequest, held: Held, tmp_path: Path) -> AsyncIterator[Proxy]:
    proxy = Proxy(request.param, tmp_path, held.urls)
    try:
        await eventually(lambda: answers(proxy), within_s=30)
        yield proxy
    finally:
        proxy.stop()


def caller(proxy: Proxy, *, http2: bool = False) -> httpx.AsyncClient:
    context = ssl.create_default_context(cafile=str(proxy.authority))
    headers = {"Accept-Encoding": "gzip"}
    return httpx.AsyncClient(
        base_url=proxy.url, http1=not http2, http2=http2, verify=context, headers=headers, timeout=40
    )


async def answers(proxy: Proxy) -> bool:
    assert proxy.is_running(), proxy.log
    async with caller(proxy) as http:
        try:
            return (await http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_each_delta_arrives_before_the_next_is_sent(proxy: Proxy, held: Held, http2: bool) -> None:
    text, seen = b"", 0
    async with caller(proxy, http2=http2) as http, http.stream("POST", "/stream", json={"content": "hi"}) as answer:
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert ("content-encoding" in answer.headers) == proxy.compresses
        async for piece in answer.aiter_bytes():
            text += piece
            while text.count(b"\n\n") > seen:
                seen += 1
                held.seen()
    assert text == b"".join(delta(number) for number in range(DELTAS))


async def test_a_proxy_that_buffers_would_be_found(held: Held, tmp_path: Path) -> None:
    proxy = Proxy("nginx_deaf", tmp_path, held.urls)
    try:
        await eventually(lambda: answers(proxy), within_s=30)
        async with caller(proxy) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.post("/stream", json={"content": "hi"}, timeout=1)
    finally:
        proxy.stop()


async def test_the_gateway_hears_the_client_s_address_from_the_proxy_and_not_from_the_client(proxy: Proxy) -> None:
    claimed = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    async with caller(proxy) as http:
        headers = {name.lower(): values for name, values in (await http.get("/echo", headers=claimed)).json().items()}
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["https"]
    assert "forwarded" not in headers
