"""The fake history behind HTTP, for gateways that are processes of their own.

Serves what a message and its stream need.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from shared.contracts.turns import AdmitTurn
from shared.web.bodies import json_response
from shared.web.middleware import request_middleware
from shared.web.process import app_runner
from tests.service.gateway.fakes import FakeHistory


def _app(fake: FakeHistory) -> web.Application:
    async def ready(_: web.Request) -> web.Response:
        return json_response({})

    async def resolve(request: web.Request) -> web.Response:
        return json_response((await fake.resolve_key((await request.json())["digest"])).wire())

    async def admit(request: web.Request) -> web.Response:
        order = AdmitTurn.model_validate(await request.json())
        return json_response((await fake.admit(request.match_info["workspace"], order)).wire())

    async def states(request: web.Request) -> web.Response:
        rows = [(row["workspace"], row["turnId"]) for row in (await request.json())["turns"]]
        return json_response([turn.wire() if turn else None for turn in await fake.turn_states(rows)])

    app = web.Application(middlewares=[request_middleware])
    app.add_routes(
        [
            web.get("/readyz", ready),
            web.post("/keys/resolve", resolve),
            web.post("/workspaces/{workspace}/turns", admit),
            web.post("/turns/states", states),
        ]
    )
    return app


@asynccontextmanager
async def history_server(fake: FakeHistory) -> AsyncIterator[str]:
    runner = app_runner(_app(fake))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
