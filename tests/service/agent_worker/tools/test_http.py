"""The HTTP tool against servers on loopback that the operator's list allows."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook
from yarl import URL

from services.agent_worker.tools.http import HttpTools
from services.agent_worker.tools.request import with_query
from services.agent_worker.tools.result import ToolFailure
from shared.contracts.endpoints import Secret
from shared.contracts.tools import HttpTool
from shared.secrets import SecretBox
from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient, decoded
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


BOX = SecretBox([base64.b64encode(b"k" * 32).decode()])


@asynccontextmanager
async def tools_for(*allowed: str) -> AsyncIterator[HttpTools]:
    async with GuardedClient(OutgoingPolicy(allow=AllowList.parse(allowed))) as client:
        yield HttpTools(client, BOX, result_bytes=10_000)


@pytest.fixture
async def tools(site: Site) -> AsyncIterator[HttpTools]:
    async with tools_for(str(URL(site.url).authority)) as tools:
        yield tools


def tool(url: str, **given: Any) -> HttpTool:
    return HttpTool.model_validate({"name": "look_up", "url": url, **given})


async def failure(tools: HttpTools, given: HttpTool, arguments: dict[str, Any] | None = None) -> str:
    with pytest.raises(ToolFailure) as caught:
        await tools.call(given, arguments or {}, "key", "acme")
    return str(caught.value)


async def test_arguments_go_as_a_json_body_with_the_key(tools: HttpTools, site: Site) -> None:
    given = tool(f"{site.url}/json", headers={"X-Shop": "mia", "Host": "evil", "idempotency-key": "mine"})
    assert await tools.call(given, {"order_id": "1042"}, "trn_1:abc:1", "acme") == '{"ok": true}'
    method, path, headers, body = site.requests[0]
    assert (method, path, orjson.loads(body)) == ("POST", "/json", {"order_id": "1042"})
    assert headers["Idempotency-Key"] == "trn_1:abc:1"
    assert headers["X-Shop"] == "mia"
    assert headers["Host"] == URL(site.url).authority
    assert headers["Content-Type"] == "application/json"


async def test_a_get_tool_sends_its_arguments_as_the_query(tools: HttpTools, site: Site) -> None:
    given = tool(f"{site.url}/json?shop=1", method="GET")
    await tools.call(
        given, {"q": "a&b=c d/é", "n": 2, "on": True, "tags": ["x", "y"], "none": None, "o": {"a": 1}}, "key", "acme"
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
    url = with_query(URL("https://tools.example/x"), {"a": "@evil/../..//#?", "host": "evil"})
    assert (url.host, url.path) == ("tools.example", "/x")


async def test_cookies_of_one_call_are_not_sent_with_the_next(tools: HttpTools, site: Site) -> None:
    for _ in range(2):
        await tools.call(tool(f"{site.url}/json"), {}, "key", "acme")
    assert "Cookie" not in site.requests[1][2]


async def test_an_error_status_is_an_error_result_with_its_text(tools: HttpTools, site: Site) -> None:
    assert await failure(tools, tool(f"{site.url}/error")) == "HTTP 422\nno such order"


async def test_what_is_not_text_is_refused(tools: HttpTools, site: Site) -> None:
    assert "image/png" in await failure(tools, tool(f"{site.url}/picture"))


@pytest.mark.parametrize(("what", "text"), [("latin", "crème"), ("odd", "text")])
async def test_text_is_decoded_as_it_says(tools: HttpTools, site: Site, what: str, text: str) -> None:
    assert await tools.call(tool(f"{site.url}/{what}"), {}, "key", "acme") == text


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


async def test_a_tool_that_is_not_there_is_an_error_result() -> None:
    async with tools_for("127.0.0.1:9") as tools:
        assert "cannot be reached" in await failure(tools, tool("http://127.0.0.1:9/x"))


# --- secrets and signatures


def sealed(value: str, workspace: str = "acme") -> Secret:
    return Secret(sealed=BOX.seal(workspace, value))


async def test_secret_headers_are_sent_and_never_shown(tools: HttpTools, site: Site) -> None:
    given = tool(f"{site.url}/json", secretHeaders={"Authorization": sealed("Bearer canary")})
    assert "canary" not in await tools.call(given, {}, "key", "acme")
    assert site.requests[0][2]["Authorization"] == "Bearer canary"


async def test_a_secret_of_another_workspace_is_not_sent(tools: HttpTools, site: Site) -> None:
    given = tool(f"{site.url}/json", secretHeaders={"Authorization": sealed("Bearer canary", "other")})
    assert "secrets cannot be read" in await failure(tools, given)
    assert site.requests == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_is_signed_as_standard_webhooks_says(tools: HttpTools, site: Site, method: str) -> None:
    secret = "whsec_" + base64.b64encode(b"s" * 24).decode()
    await tools.call(
        tool(f"{site.url}/json", method=method, signingSecret=sealed(secret)), {"a": 1}, "trn_1:b:1", "acme"
    )
    _, _, headers, body = site.requests[0]
    Webhook(secret).verify(body, headers, json_parse=False)
    assert headers["webhook-id"] == "trn_1:b:1"


async def test_a_tool_may_have_a_lower_limit_than_the_operator_sets(tools: HttpTools, site: Site) -> None:
    assert "longer than 5 bytes" in await failure(tools, tool(f"{site.url}/json", responseLimit=5))
    assert "longer than 10000 bytes" in await failure(tools, tool(f"{site.url}/endless", responseLimit=1_000_000))
