"""Redirects, limits and credentials of outgoing calls, against two origins on loopback that the operator's list
allows.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure
from tests.conftest import eventually


class Site:
    """Its answers are chosen by the path; `requests` are what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.redirects: dict[str, tuple[int, str]] = {}
        self.cancelled = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.headers), await request.read()))
        if request.path in self.redirects:
            status, location = self.redirects[request.path]
            return web.Response(status=status, headers={"Location": location})
        if request.path == "/bomb":
            return web.Response(
                body=gzip.compress(b"0" * 20_000_000),
                headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"},
            )
        if request.path == "/hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return web.Response(text=f"{request.method} {request.path}")


async def started(site: Site) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    return runner


@pytest.fixture
async def sites() -> AsyncIterator[tuple[Site, Site]]:
    one, other = Site(), Site()
    runners = [await started(one), await started(other)]
    yield one, other
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def client(sites: tuple[Site, Site]) -> AsyncIterator[GuardedClient]:
    allow = AllowList.parse([f"127.0.0.1:{site.port}" for site in sites])
    async with GuardedClient(OutgoingPolicy(allow=allow)) as client:
        yield client


CREDENTIALS = {"Authorization": "Bearer canary", "X-Api-Key": "canary", "Cookie": "canary", "Idempotency-Key": "key"}


async def fetch(client: GuardedClient, url: str, method: str = "GET", body: bytes | None = None, **given: Any) -> str:
    headers = CREDENTIALS | ({"Content-Type": "application/json"} if body else {})
    answer = await client.fetch(Outgoing(method=method, url=url, headers=headers, body=body), limit=1000, **given)
    return answer.text


async def test_three_redirects_are_followed_and_a_fourth_is_not(
    client: GuardedClient, sites: tuple[Site, Site]
) -> None:
    site = sites[0]
    site.redirects = {f"/{hop}": (302, f"/{hop + 1}") for hop in range(1, 9)}
    site.redirects.pop("/4")
    assert await fetch(client, f"{site.url}/1") == "GET /4"
    site.redirects["/4"] = (302, "/5")
    site.requests.clear()
    with pytest.raises(OutgoingFailure, match="more than 3 times"):
        await fetch(client, f"{site.url}/1")
    assert len(site.requests) == 4


async def test_no_credential_goes_to_another_origin(client: GuardedClient, sites: tuple[Site, Site]) -> None:
    one, other = sites
    one.redirects = {"/near": (307, "/here"), "/far": (307, f"{other.url}/there")}
    await fetch(client, f"{one.url}/near", "POST", b"{}")
    assert one.requests[-1][2]["Authorization"] == "Bearer canary"
    await fetch(client, f"{one.url}/far", "POST", b"{}")
    method, path, headers, body = other.requests[-1]
    assert (method, path, body) == ("POST", "/there", b"{}")
    assert "canary" not in str(headers)
    assert headers["Idempotency-Key"] == "key"


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (302, "PUT", "PUT"),
    ],
)
async def test_the_method_is_kept_where_the_status_says_so(
    client: GuardedClient, sites: tuple[Site, Site], status: int, method: str, expected: str
) -> None:
    site = sites[0]
    site.redirects = {"/a": (status, "/b")}
    assert await fetch(client, f"{site.url}/a", method, b"{}") == f"{expected} /b"
    assert site.requests[-1][3] == (b"" if expected == "GET" else b"{}")


@pytest.mark.parametrize(
    "location", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://[::1/", "http://127.0.0.1:1/", ""]
)
async def test_a_redirect_to_what_may_not_be_asked_is_an_error(
    client: GuardedClient, sites: tuple[Site, Site], location: str
) -> None:
    site = sites[0]
    site.redirects = {"/a": (302, location)}
    with pytest.raises(OutgoingFailure):
        await fetch(client, f"{site.url}/a")


async def test_a_redirect_is_shown_where_none_is_to_be_followed(
    client: GuardedClient, sites: tuple[Site, Site]
) -> None:
    sites[0].redirects = {"/a": (307, "/b")}
    async with client.open(Outgoing(method="GET", url=f"{sites[0].url}/a"), redirects=0) as response:
        assert (response.status, response.headers["Location"]) == (307, "/b")


async def test_the_limit_counts_after_decompression(client: GuardedClient, sites: tuple[Site, Site]) -> None:
    with pytest.raises(OutgoingFailure, match="longer than 1000 bytes"):
        await fetch(client, f"{sites[0].url}/bomb")


async def test_the_callers_deadline_closes_the_connection(client: GuardedClient, sites: tuple[Site, Site]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await fetch(client, f"{sites[0].url}/hang")
    await eventually(lambda: sites[0].cancelled == 1)


async def test_proxies_from_the_environment_are_not_asked(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, sites[1].url)
    async with GuardedClient(OutgoingPolicy(allow=AllowList.parse(["127.0.0.1"]))) as client:
        assert await fetch(client, f"{sites[0].url}/a") == "GET /a"
    assert sites[1].requests == []


def test_a_request_does_not_show_its_credentials() -> None:
    assert "canary" not in repr(
        Outgoing(method="GET", url="https://shop.example/", headers=CREDENTIALS, body=b"canary")
    )
