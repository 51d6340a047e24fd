"""The demo agent's tool, and a counting tool with which tests see how often a tool was really called."""

import asyncio
from collections import deque
from typing import Any, Final

import orjson
from aiohttp import web

ORDERS: Final[dict[str, dict[str, Any]]] = {
    "1041": {"status": "delivered", "items": ["Quattro Formaggi"]},
    "1042": {"status": "out_for_delivery", "items": ["Margherita", "Garden Salad"], "etaMinutes": 12},
    "1043": {"status": "in_the_oven", "items": ["Diavola"], "etaMinutes": 25},
    "1044": {"status": "waiting_for_the_oven", "items": ["Funghi", "Tiramisu"], "etaMinutes": 40},
}


class ToolServer:
    """`/tools/order_status` answers about an order; `/tools/count` notes each call, which `/tools/counter` tells."""

    def __init__(self) -> None:
        self._calls: deque[dict[str, Any]] = deque(maxlen=100_000)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/tools/order_status", self.order_status),
            web.post("/tools/order_status", self.order_status),
            web.post("/tools/count", self.count),
            web.get("/tools/count", self.count),
            web.get("/tools/counter", self.counter),
            web.delete("/tools/counter", self.clear),
        ]

    async def order_status(self, request: web.Request) -> web.Response:
        arguments = await _arguments(request)
        order_id = str(arguments.get("order_id", "")).strip().lstrip("#")
        return web.json_response({"orderId": order_id, **ORDERS.get(order_id, {"status": "unknown"})})

    async def count(self, request: web.Request) -> web.Response:
        """The tool's URL may say `?delay_ms=` (before the answer, after the call was noted) and `?status=`."""
        knobs = {
            name: int(request.query[name]) for name in ("delay_ms", "status") if request.query.get(name, "").isdecimal()
        }
        self._calls.append(
            {"idempotencyKey": request.headers.get("Idempotency-Key"), "arguments": await _arguments(request)}
        )
        number = len(self._calls)
        await asyncio.sleep(knobs.get("delay_ms", 0) / 1000)
        return web.json_response({"count": number}, status=knobs.get("status", 200))

    async def counter(self, _: web.Request) -> web.Response:
        """A list of `{idempotencyKey, arguments}`, in the order of the calls."""
        return web.json_response(list(self._calls))

    async def clear(self, _: web.Request) -> web.Response:
        self._calls.clear()
        return web.json_response([])


async def _arguments(request: web.Request) -> dict[str, Any]:
    if request.method == "GET":
        return dict(request.query)
    try:
        body = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    return body if isinstance(body, dict) else {}
