"""MCP tools against servers of the official SDK, of both protocol generations, with answers as JSON and as event
streams.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from services.agent_worker.tools import mcp
from services.agent_worker.tools.mcp import McpServers
from services.agent_worker.tools.result import ToolFailure
from services.agent_worker.tools.toolbox import Entry
from shared.contracts.endpoints import Secret
from shared.contracts.tools import McpTool
from shared.secrets import SecretBox
from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient
from tests.conftest import eventually
from tests.mcp.process import McpProcess, mcp_server
from tests.service.agent_worker.stage import serving

BOX = SecretBox([base64.b64encode(b"k" * 32).decode()])
ALL = ("find_order", "total", "shop.open/now", "refuse", "picture", "long_text", "hang")
SERVERS = {
    "2026-07-28": (),
    "2026-07-28 json": ("--json",),
    "2025-11-25": ("--only-2025",),
    "2025-11-25 json": ("--only-2025", "--json"),
}


@pytest.fixture(params=SERVERS)
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[McpProcess]:
    async with mcp_server(*SERVERS[request.param]) as process:
        yield process


# The SDK's server, where it answers the newer revision with plain JSON, does not notice that its caller has gone.
@pytest.fixture(params=[name for name in SERVERS if name != "2026-07-28 json"])
async def attentive_peer(request: pytest.FixtureRequest) -> AsyncIterator[McpProcess]:
    async with mcp_server(*SERVERS[request.param]) as process:
        yield process


@asynccontextmanager
async def servers_for(*allowed: str, result_bytes: int = 10_000) -> AsyncIterator[McpServers]:
    policy = OutgoingPolicy(allow=AllowList.parse(allowed))
    async with GuardedClient(policy) as client, McpServers(client, BOX, result_bytes=result_bytes) as servers:
        yield servers


@pytest.fixture
async def servers() -> AsyncIterator[McpServers]:
    async with servers_for("127.0.0.1") as servers:
        yield servers


def tool(url: str, **given: Any) -> McpTool:
    return McpTool.model_validate({"kind": "mcp", "name": "shop", "url": url, "allow": ALL, **given})


async def entries_of(servers: McpServers, given: McpTool) -> dict[str, Entry]:
    return {entry.name: entry for entry in await servers.entries("acme", (given,))}


async def called(servers: McpServers, given: McpTool, name: str, **arguments: Any) -> str:
    return await servers.call("acme", (await entries_of(servers, given))[name], arguments)


async def failure(servers: McpServers, given: McpTool, name: str, **arguments: Any) -> str:
    with pytest.raises(ToolFailure) as caught:
        await called(servers, given, name, **arguments)
    return str(caught.value)


async def test_a_server_of_either_generation_is_asked_and_called(peer: McpProcess, servers: McpServers) -> None:
    given = tool(peer.url)
    entries = await entries_of(servers, given)
    assert sorted(entries) == sorted(f"shop_{name}" for name in (*ALL[:2], "shop_open_now", *ALL[3:]))
    definition = entries["shop_find_order"].definition["function"]
    assert definition["description"] == "Where an order is."
    assert definition["parameters"]["required"] == ["order_id"]
    assert await called(servers, given, "shop_find_order", order_id="1042") == "Order 1042 is on its way."
    assert orjson.loads(await called(servers, given, "shop_total", prices=[1, 2])) == {"total": 3}
    assert await called(servers, given, "shop_shop_open_now") == "It is open."
    assert await called(servers, given, "shop_picture") == "[image/png, which cannot be shown]"
    assert "the till is broken" in await failure(servers, given, "shop_refuse")
    seen = await peer.seen()
    assert seen["methods"].count("tools/list") == 1, "what a server offers is asked once"
    assert seen["methods"].count("server/discover") == 1


async def test_the_revision_of_2026_costs_one_request_a_call(servers: McpServers) -> None:
    async with mcp_server() as peer:
        assert await called(servers, tool(peer.url), "shop_find_order", order_id="1")
        seen = await peer.seen()
        assert seen["methods"] == ["server/discover", "tools/list", "tools/call"]
        assert set(seen["versions"]) == {"2026-07-28"}


async def test_the_revision_of_2025_gets_its_handshake_and_its_goodbye(servers: McpServers) -> None:
    async with mcp_server("--only-2025") as peer:
        assert await called(servers, tool(peer.url), "shop_find_order", order_id="1")
        await eventually(_has_seen(peer, "DELETE", 2))
        seen = await peer.seen()
        handshake = ["initialize", "notifications/initialized"]
        assert seen["methods"] == [
            "server/discover", *handshake, "tools/list", "DELETE", *handshake, "tools/call", "DELETE",
        ]  # fmt: skip
        assert seen["versions"][3] == "2025-11-25"


def _has_seen(peer: McpProcess, method: str, times: int) -> Any:
    async def has() -> bool:
        return bool((await peer.seen())["methods"].count(method) >= times)

    return has


async def test_a_tool_that_is_not_allowed_is_not_offered(peer: McpProcess, servers: McpServers) -> None:
    entries = await entries_of(servers, tool(peer.url, allow=["find_order", "no_such_tool"]))
    assert list(entries) == ["shop_find_order"]


async def test_secret_headers_go_with_every_request(peer: McpProcess, servers: McpServers) -> None:
    secret = {"Authorization": Secret(sealed=BOX.seal("acme", "Bearer canary"))}
    await called(servers, tool(peer.url, secretHeaders=secret), "shop_find_order", order_id="1")
    assert set((await peer.seen())["authorization"]) == {"Bearer canary"}


async def test_a_long_result_is_shortened(peer: McpProcess) -> None:
    async with servers_for("127.0.0.1", result_bytes=101) as servers:
        text = await called(servers, tool(peer.url), "shop_long_text", size=60)
        assert text == "é" * 50 + "\n[The rest of the result is left out.]"
        # Too much even to be read: an event may have 1 MiB, and all that one call receives 4 MiB.
        assert len(await failure(servers, tool(peer.url), "shop_long_text", size=3_000_000)) < 200


async def test_a_server_that_hangs_fails_its_call_in_time(attentive_peer: McpProcess, servers: McpServers) -> None:
    assert "within 0.3 s" in await failure(servers, tool(attentive_peer.url, timeoutS=0.3), "shop_hang")
    await eventually(lambda: _cancelled(attentive_peer, 1), what="the server's cancellation")


async def _cancelled(peer: McpProcess, times: int) -> bool:
    return bool((await peer.seen())["cancelled"] == times)


async def _hangs(peer: McpProcess) -> bool:
    return bool((await peer.seen())["hanging"] == 1)


async def test_a_cancelled_call_returns_at_once_and_reaches_the_server(
    attentive_peer: McpProcess, servers: McpServers
) -> None:
    peer, given = attentive_peer, tool(attentive_peer.url, timeoutS=60)
    await entries_of(servers, given)
    call = asyncio.create_task(called(servers, given, "shop_hang"))
    await eventually(lambda: _hangs(peer))
    call.cancel()
    steps = 0
    while not call.done():
        steps += 1
        await asyncio.sleep(0)
    assert call.cancelled()
    assert steps < 20, "nothing was waited for"
    await eventually(lambda: _cancelled(peer, 1), what="the server's cancellation")


async def test_turns_that_start_together_ask_once(servers: McpServers) -> None:
    async with mcp_server() as peer:
        found = await asyncio.gather(*(entries_of(servers, tool(peer.url)) for _ in range(20)))
        assert all(len(entries) == len(ALL) for entries in found)
        assert (await peer.seen())["methods"].count("tools/list") == 1


async def test_workspaces_do_not_share_what_a_server_says(servers: McpServers) -> None:
    async with mcp_server() as peer:
        for workspace in ("acme", "other", "acme"):
            assert await servers.entries(workspace, (tool(peer.url),))
        assert (await peer.seen())["methods"].count("tools/list") == 2


# --- servers that are none


async def test_a_server_that_is_not_allowed_is_never_connected_to(peer: McpProcess) -> None:
    async with servers_for("127.0.0.2") as servers:
        assert await servers.entries("acme", (tool(peer.url),)) == []
    assert (await peer.seen())["methods"] == []


async def test_a_redirect_to_an_internal_server_is_not_followed(peer: McpProcess) -> None:
    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(peer.url)

    async with (
        serving(web.route("*", "/mcp", redirect)) as url,
        servers_for(url.removeprefix("http://")) as servers,
    ):
        assert await servers.entries("acme", (tool(f"{url}/mcp"),)) == []
    assert (await peer.seen())["methods"] == []


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<html>hello</html>"),
        (200, "application/json", b"{"),
        (200, "application/json", b"[]"),
        (200, "application/json", b'{"jsonrpc":"2.0","id":1,"result":7}'),
        (200, "application/json", b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":7}]}}'),
        (200, "text/event-stream", b"data: {\n\n"),
        (200, "text/event-stream", b""),
        (202, "application/json", b""),
        (404, "text/plain", b"not here"),
        (401, "text/plain", b"who are you?"),
        (500, "text/plain", b"broken"),
        (200, "application/json", b'{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"x":"' + b"x" * 5_000_000 + b'"}'),
    ],
)
async def test_whatever_a_server_answers_costs_only_its_tools(
    servers: McpServers, status: int, kind: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One of them answers another question than was asked, which ends by the time limit alone.
    monkeypatch.setattr(mcp, "LIST_TIMEOUT_S", 1.0)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": kind})

    async with serving(web.route("*", "/mcp", answer)) as url:
        assert await servers.entries("acme", (tool(f"{url}/mcp"),)) == []


async def test_a_server_that_failed_is_left_alone_for_a_while(servers: McpServers) -> None:
    asked = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=500)

    async with serving(web.route("*", "/mcp", answer)) as url:
        await servers.entries("acme", (tool(f"{url}/mcp"),))
        before = asked
        started = time.monotonic()
        while time.monotonic() - started < 0.05:
            assert await servers.entries("acme", (tool(f"{url}/mcp"),)) == []
        assert asked == before
