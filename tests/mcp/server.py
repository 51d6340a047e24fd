"""An MCP server of the official SDK, as a process: `python -m tests.mcp.server [--only-2025] [--json]`.

It prints its port. `/seen` tells what it was asked: the methods, the headers, and the calls that were cancelled.
"""

import argparse
import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

server = MCPServer("shop", log_level="CRITICAL")
seen: dict[str, Any] = {"methods": [], "versions": [], "authorization": [], "hanging": 0, "cancelled": 0}


@server.tool()
def find_order(order_id: str) -> str:
    """Where an order is."""
    return f"Order {order_id} is on its way."


@server.tool()
def total(prices: list[int]) -> dict[str, int]:
    """The sum of some prices."""
    return {"total": sum(prices)}


@server.tool(name="shop.open/now")
def is_open() -> str:
    """Whether the shop is open."""
    return "It is open."


@server.tool()
def refuse() -> str:
    """Always fails."""
    raise ToolError("the till is broken")


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=b"\x89PNG", format="png")


@server.tool()
def long_text(size: int) -> str:
    """So many characters."""
    return "é" * size


@server.tool()
async def hang() -> str:
    """Never answers."""
    seen["hanging"] += 1
    try:
        await asyncio.Event().wait()
    finally:
        seen["cancelled"] += 1
    return ""


@server.tool()
def delete_everything() -> str:
    """Not for agents."""
    return "deleted"


class Recorder:
    """Between the HTTP server and the SDK. `only_2025` answers requests of a newer revision as SDKs of 2025 do."""

    def __init__(self, app: Any, *, only_2025: bool) -> None:
        self._app = app
        self._only_2025 = only_2025

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/seen":
            await _answer(send, 200, seen)
        else:
            await self._record(scope, receive, send)

    async def _record(self, scope: Any, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        version = headers.get("mcp-protocol-version")
        first = await receive()
        body = json.loads(first.get("body") or b"{}") if scope["method"] == "POST" else {}
        seen["methods"].append(body.get("method") or scope["method"])
        seen["versions"].append(version)
        seen["authorization"].append(headers.get("authorization"))
        if self._only_2025 and version is not None and version > "2025-11-25":
            error = {"code": -32600, "message": f"Bad Request: Unsupported protocol version: {version}."}
            await _answer(send, 400, {"jsonrpc": "2.0", "id": "server-error", "error": error})
            return
        pending = [first]

        async def again() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, again, send)


async def _answer(send: Send, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only-2025", action="store_true")
    parser.add_argument("--json", action="store_true", help="answer with JSON instead of an event stream")
    given = parser.parse_args()
    app = Recorder(server.streamable_http_app(json_response=given.json), only_2025=given.only_2025)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
