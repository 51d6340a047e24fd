"""A model server that behaves as badly as asked: the model's name selects one of its behaviours."""

import asyncio
from collections import defaultdict
from typing import Any

import orjson
from aiohttp import web

from tests.upstream.answers import ANSWERS
from tests.upstream.errors import ERRORS
from tests.upstream.finishes import FINISHES
from tests.upstream.providers import PROVIDERS
from tests.upstream.refusals import REFUSALS
from tests.upstream.script import Behaviour, Reply
from tests.upstream.streams import STREAMS
from tests.upstream.tools import TOOLS

BEHAVIOURS: dict[str, Behaviour] = {**STREAMS, **FINISHES, **TOOLS, **ERRORS, **ANSWERS, **REFUSALS, **PROVIDERS}


class QuirkyUpstream:
    """`bodies` are the requests that each behaviour has had."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[dict[str, Any]]] = defaultdict(list)

    @property
    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{prefix:.*}/chat/completions", self.complete)]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        name = body["model"]
        seen = self.bodies[name]
        replies = BEHAVIOURS[name].replies
        script = replies[min(len(seen), len(replies) - 1)]
        seen.append(body)
        reply = script if isinstance(script, Reply) else script(body)
        return await self._play(request, reply)

    async def _play(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        headers = {"Content-Type": reply.content_type, **reply.headers}
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        for piece in reply.pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif piece is not None:
                await response.write(piece)
            elif request.transport is not None:
                request.transport.abort()
        return response
