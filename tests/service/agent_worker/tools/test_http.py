"""The HTTP tool against servers on loopback. 127.0.0.2 plays the public address; 127.0.0.1 is what must not be reached."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from yarl import URL

from services.agent_worker.tools.guard import guarded_sockets
from services.agent_worker.tools.http import HttpTools, ToolFailure, ToolPolicy, decoded, with_arguments
from shared.contracts.agents import HttpTool
from tests.conftest import eventually
from tests.service.agent_worker.stage import serving


class Site:
    """A server whose answers the tests choose, and what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.cancelled = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        try:
            return await self._answer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        match request.match_info["what"]:
            case "json":
                return web.json_response({"ok": True}, headers={"Set-Cookie": "a=b"})
            case "redirect":
                raise web.HTTPFound("http://127.0.0.1:1/secret")
            case "error":
                return web.Response(status=422, text="no such order")
            case "picture":
                return web.Response(body=b"\x89PNG", content_type="image/png")
            case "latin":
                return web.Response(body="crème".encode("latin-1"), content_type="text/plain", charset="latin-1")
            case "odd":
                return web.Response(body=b"text", headers={"Content-Type": "text/plain; charset=nonsense"})
            case "bomb":
                return web.Response(
                    body=gzip.compress(b"0" * 50_000_000),
                    headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"},
                )
            case "endless":
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 10_000)
            case _:
                await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with serving(web.route("*", "/{what}", site.answer)) as url:
        site.url = url
        yield site


@pytest.fixture
async def tools(site: Site) -> AsyncIterator[HttpTools]:
    async with HttpTools(
        ToolPolicy(allowed_hosts=frozenset({str(URL(site.url).authority)}), result_bytes=10_000)
    ) as tools:
        yield tools


def tool(url: str, **given: Any) -> HttpTool:
    return HttpTool.model_validate({"name": "look_up", "url": url, **given})


async def failure(tools: HttpTools, given: HttpTool, arguments: dict[str, Any] | None = None) -> str:
    with pytest.raises(ToolFailure) as caught:
        await tools.call(given, arguments or {}, "key")
    return str(caught.value)


async def test_arguments_go_as_a_json_body_with_the_key(tools: HttpTools, site: Site) -> None:
    given = tool(f"{site.url}/json", headers={"X-Shop": "mia", "Host": "evil", "idempotency-key": "mine"})
    assert await tools.call(given, {"order_id": "1042"}, "trn_1:abc:1") == '{"ok": true}'
    method, path, headers, body = site.requests[0]
    assert (method, path, orjson.loads(body)) == ("POST", "/json", {"order_id": "1042"})
    assert headers["Idempotency-Key"] == "trn_1:abc:1"
    assert headers["X-Shop"] == "mia"
    assert headers["Host"] == URL(site.url).authority
    assert headers["Content-Type"] == "application/json"


async def test_a_get_tool_sends_its_arguments_as_the_query(tools: HttpTools, site: Site) -> None:
    given = tool(f"{site.url}/json?shop=1", method="GET")
    await tools.call(
        given, {"q": "a&b=c d/é", "n": 2, "on": True, "tags": ["x", "y"], "none": None, "o": {"a": 1}}, "key"
    )
    query = URL(site.requests[0][1]).query
    assert list(query.items()) == [
        ("shop", "1"),
        ("q", "a&b=c d/é"),
        ("n", "2"),
        ("on", "true"),
        ("tags", "x"),
        ("tags", "y"),
        ("o", '{"a":1}'),
    ]
    assert site.requests[0][3] == b""


def test_arguments_never_change_where_a_request_goes() -> None:
    url = with_arguments(URL("https://tools.example/x"), {"a": "@evil/../..//#?", "host": "evil"})
    assert (url.host, url.path) == ("tools.example", "/x")


async def test_cookies_of_one_call_are_not_sent_with_the_next(tools: HttpTools, site: Site) -> None:
    for _ in range(2):
        await tools.call(tool(f"{site.url}/json"), {}, "key")
    assert "Cookie" not in site.requests[1][2]


async def test_a_redirect_is_not_followed(tools: HttpTools, site: Site) -> None:
    assert "redirect (HTTP 302)" in await failure(tools, tool(f"{site.url}/redirect"))


async def test_an_error_status_is_an_error_result_with_its_text(tools: HttpTools, site: Site) -> None:
    assert await failure(tools, tool(f"{site.url}/error")) == "HTTP 422\nno such order"


async def test_what_is_not_text_is_refused(tools: HttpTools, site: Site) -> None:
    assert "image/png" in await failure(tools, tool(f"{site.url}/picture"))


@pytest.mark.parametrize(("what", "text"), [("latin", "crème"), ("odd", "text")])
async def test_text_is_decoded_as_it_says(tools: HttpTools, site: Site, what: str, text: str) -> None:
    assert await tools.call(tool(f"{site.url}/{what}"), {}, "key") == text


@pytest.mark.parametrize(
    "charset",
    ["utf-8", "ascii", "utf-16", "utf-7", "unicode_escape", "idna", "punycode", "hex", "zlib", "undefined", "\0"],
)
def test_no_charset_yields_text_that_the_stores_refuse(charset: str) -> None:
    for body in (b"\\ud800 +2AA- \xd8\x00\xff", b"plain", b""):
        decoded(body, charset).encode()


@pytest.mark.parametrize("what", ["endless", "bomb"])
async def test_a_long_answer_is_not_read_to_its_end(tools: HttpTools, site: Site, what: str) -> None:
    assert "longer than 10000 bytes" in await failure(tools, tool(f"{site.url}/{what}"))


async def test_a_slow_tool_times_out_and_its_connection_is_closed(tools: HttpTools, site: Site) -> None:
    assert "within 0.2 s" in await failure(tools, tool(f"{site.url}/hang", timeoutS=0.2))
    await eventually(lambda: site.cancelled == 1)


async def test_a_tool_that_is_not_there_is_an_error_result(tools: HttpTools) -> None:
    async with HttpTools(ToolPolicy(allowed_hosts=frozenset({"127.0.0.1:9"}))) as tools:
        assert "cannot be reached" in await failure(tools, tool("http://127.0.0.1:9/x"))


async def test_a_header_that_breaks_the_request_is_an_error_result(tools: HttpTools, site: Site) -> None:
    assert "cannot be reached" in await failure(tools, tool(f"{site.url}/json", headers={"X-A": "a\r\nX-B: b"}))
    assert site.requests == []


# --- the guard, in place


async def guarded_tools(site: Site, is_allowed: Any = None) -> HttpTools:
    port = URL(site.url).port or 0
    guard = guarded_sockets(is_allowed) if is_allowed is not None else None
    return HttpTools(ToolPolicy(ports=frozenset({80, port})), guard=guard)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.2", "127。0。0。1", "①②⑦.0.0.1"],
)
async def test_a_private_address_is_not_reached_by_whatever_name(site: Site, host: str) -> None:
    async with await guarded_tools(site) as tools:
        told = await failure(tools, tool(f"http://{host}:{URL(site.url).port}/json"))
    assert "not allowed" in told or "cannot be reached" in told
    assert site.requests == []


async def test_the_guard_lets_a_public_address_through_and_judges_what_is_connected_to(site: Site) -> None:
    seen: list[str] = []

    def is_allowed(address: str) -> bool:
        seen.append(address)
        return address == "127.0.0.1"

    async with await guarded_tools(site, is_allowed) as tools:
        assert await tools.call(tool(f"http://localhost:{URL(site.url).port}/json"), {}, "key") == '{"ok": true}'
        # No connection is kept, so the address is judged anew: a name that moves is caught.
        await tools.call(tool(f"http://localhost:{URL(site.url).port}/json"), {}, "key")
    assert seen.count("127.0.0.1") == 2


async def test_an_allowed_host_is_only_that_host_and_port(site: Site) -> None:
    port = URL(site.url).port
    async with HttpTools(
        ToolPolicy(allowed_hosts=frozenset({f"127.0.0.1:{port}"}), ports=frozenset({port or 0}))
    ) as tools:
        assert await tools.call(tool(f"{site.url}/json"), {}, "key")
        assert "not allowed" in await failure(tools, tool(f"http://localhost:{port}/json"))
