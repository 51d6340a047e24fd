"""Vectors of versions that MongoDB searches, for the workers."""

from typing import Final

from aiohttp import web

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paths import AGENT, WORKSPACE, path_id, workspace_of
from shared.contracts.indexes import DIGEST_PATTERN
from shared.contracts.vectors import SPACE_PATTERN, BeginVectors, SearchVectors, VectorBatch
from shared.web.bodies import json_response


async def post_begin(request: web.Request) -> web.Response:
    order = await read_schema(request, BeginVectors)
    build = await nouns(request).vectors.begin(*_version(request), order)
    return json_response(build.wire())


async def post_rows(request: web.Request) -> web.Response:
    await nouns(request).vectors.add(*_version(request), await read_schema(request, VectorBatch))
    return web.Response(status=204)


async def post_search(request: web.Request) -> web.Response:
    order = await read_schema(request, SearchVectors)
    return json_response((await nouns(request).vectors.nearest(*_set(request), order)).wire())


async def delete_vectors(request: web.Request) -> web.Response:
    await nouns(request).vectors.drop(*_set(request))
    return web.Response(status=204)


def _version(request: web.Request) -> tuple[str, str, int, str]:
    number = int(path_id(request, "number"))
    return workspace_of(request), path_id(request, "agent_id"), number, path_id(request, "space")


def _set(request: web.Request) -> tuple[str, str, str]:
    return workspace_of(request), path_id(request, "key"), path_id(request, "space")


_SPACE: Final = rf"/vectors/{{space:{SPACE_PATTERN}}}"
_OF_VERSION: Final = AGENT + r"/versions/{number:\d{1,9}}" + _SPACE
_OF_SET: Final = WORKSPACE + rf"/indexes/{{key:{DIGEST_PATTERN}}}" + _SPACE
ROUTES: Final = (
    web.post(_OF_VERSION, post_begin),
    web.post(_OF_VERSION + "/rows", post_rows),
    web.post(_OF_SET + "/search", post_search),
    web.delete(_OF_SET, delete_vectors),
)
