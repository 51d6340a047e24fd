"""Search indexes of versions for the workers, and the queue of those that have to be built."""

from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from pydantic import Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paths import AGENT, WORKSPACE, path_id, workspace_of
from services.history.api.streaming import body_of, streamed
from shared.contracts.errors import ApiError
from shared.contracts.indexes import DIGEST_PATTERN, PART_PATTERN, IndexLease, IndexOutcome, LookUpSets
from shared.contracts.schema import Schema
from shared.log import get_logger
from shared.web.bodies import json_response

log = get_logger()


class ClaimIndex(Schema):
    lease_s: float = Field(gt=0)


async def get_knowledge(request: web.Request) -> web.Response:
    return json_response((await nouns(request).indexes.knowledge(*_version(request))).wire())


async def post_current(request: web.Request) -> web.Response:
    return json_response((await nouns(request).indexes.current(await read_schema(request, LookUpSets))).wire())


async def get_part(request: web.Request) -> web.StreamResponse:
    key, part = path_id(request, "key"), path_id(request, "part")
    return await streamed(request, await nouns(request).indexes.read(workspace_of(request), key, part))


async def put_part(request: web.Request) -> web.Response:
    key, digest = request.query.get("key", ""), request.query.get("digest", "")
    content: AsyncIterator[bytes] = body_of(request)
    kept = await nouns(request).indexes.store(*_version(request), key, path_id(request, "part"), digest, content)
    return json_response(kept.wire())


async def post_claim(request: web.Request) -> web.Response:
    order = await read_schema(request, ClaimIndex)
    job = await nouns(request).index_queue.claim(order.lease_s)
    return json_response(job.wire() if job is not None else None)


async def post_renew(request: web.Request) -> web.Response:
    lease = await read_schema(request, IndexLease)
    held = await nouns(request).index_queue.renew(workspace_of(request), path_id(request, "key"), lease)
    return json_response({"held": held})


async def post_finish(request: web.Request) -> web.Response:
    outcome = await read_schema(request, IndexOutcome)
    workspace = workspace_of(request)
    agent_id = await nouns(request).index_queue.finish(workspace, path_id(request, "key"), outcome)
    if agent_id is not None and outcome.state == "built":
        try:
            await nouns(request).publishing.resume(workspace, agent_id)
        except ApiError as error:  # The index is stored; the reconciler goes on with the version.
            log.warning("publishing_postponed", agent_id=agent_id, error=str(error.code))
    return json_response({"held": agent_id is not None})


def _version(request: web.Request) -> tuple[str, str, int]:
    return workspace_of(request), path_id(request, "agent_id"), int(path_id(request, "number"))


_VERSION: Final = AGENT + r"/versions/{number:\d{1,9}}"
_KEY: Final = rf"/{{key:{DIGEST_PATTERN}}}"
_PART: Final = rf"/{{part:{PART_PATTERN}}}"
ROUTES: Final = (
    web.get(_VERSION + "/knowledge", get_knowledge),
    web.put(_VERSION + "/indexes" + _PART, put_part),
    web.get(WORKSPACE + "/indexes" + _KEY + _PART, get_part),
    web.post("/indexes/current", post_current),
    web.post("/index-builds/claims", post_claim),
    web.post(WORKSPACE + "/index-builds" + _KEY + "/renew", post_renew),
    web.post(WORKSPACE + "/index-builds" + _KEY + "/finish", post_finish),
)
