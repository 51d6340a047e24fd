"""An MCP server of revision 2026-07-28 that says whatever a test wants: what no SDK would let a server say."""

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

Reply = dict[str, Any]


class ScriptedMcp:
    """`tools` are listed and `reply` is what a call is answered. A page that `pages` counts is followed by another."""

    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] = [tool("find")]
        self.reply: Callable[[dict[str, Any]], Reply] = lambda _: {"result": text_result("fine")}
        self.pages = 1
        self.methods: list[str] = []
        self.calls: list[tuple[dict[str, Any], dict[str, str]]] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", "/mcp", self.answer)]

    async def answer(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.methods.append(body["method"])
        head = f'{{"jsonrpc":"2.0","id":{orjson.dumps(body["id"]).decode()},'
        # Replies may be deeper than orjson can write, so a test may give raw text.
        reply = self._reply(body, dict(request.headers))
        text = reply if isinstance(reply, str) else orjson.dumps(reply).decode()[1:]
        return web.Response(text=head + text, content_type="application/json")

    def _reply(self, body: dict[str, Any], headers: dict[str, str]) -> Any:
        match body["method"]:
            case "server/discover":
                return {"result": DISCOVERED}
            case "tools/list":
                self.pages -= 1
                following = {"nextCursor": "more"} if self.pages > 0 else {}
                tools = {"tools": self.tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
                return {"result": tools | following}
            case _:
                self.calls.append((body["params"], headers))
                return self.reply(body["params"])


DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "private",
}


def tool(name: str, schema: Any = None, **given: Any) -> dict[str, Any]:
    return {"name": name, "description": name, "inputSchema": schema or {"type": "object"}, **given}


def text_result(*texts: str, **given: Any) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": text} for text in texts], **given}
