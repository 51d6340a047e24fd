"""The JSON Schema of `agent.yaml`, for editors: open to everyone, because it says nothing about anyone."""

from functools import cache
from typing import Final

import orjson
from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.route import Reply
from shared.contracts.agent_file import agent_file_schema


@cache
def _document() -> bytes:
    return orjson.dumps(agent_file_schema())


async def schema(_: Call) -> web.StreamResponse:
    return web.Response(
        body=_document(),
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"},
    )


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/schemas/agent.json",
        serve=schema,
        scope=None,
        summary="The JSON Schema of agent.yaml",
        replies={200: (Reply("JSON Schema 2020-12", {"type": "object"}, envelope=False),)},
    ),
)
