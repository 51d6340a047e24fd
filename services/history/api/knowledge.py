"""Knowledge sources for the gateway, and the ingest queue for its workers."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import DRAFT, WORKSPACE, path_id, workspace_of
from services.history.api.streaming import body_of, streamed
from shared.contracts.knowledge import IngestedPassages, IngestOutcome, IngestProgress, NewSource, SourcePatch
from shared.contracts.schema import NAME_PATTERN, Schema
from shared.ids import is_id
from shared.web.bodies import json_response


class Deletion(BaseModel):
    actor: str | None = None
    purge: bool = False


class ClaimSource(Schema):
    lease_s: float = Field(gt=0)


async def put_content(request: web.Request) -> web.Response:
    stored = await nouns(request).sources.upload(*_source(request), body_of(request))
    return json_response(stored.wire())


async def post_source(request: web.Request) -> web.Response:
    order = await read_schema(request, NewSource)
    source = await nouns(request).sources.create(*_agent(request), order)
    return json_response(source.wire(), status=201)


async def get_sources(request: web.Request) -> web.Response:
    values = cursor_values(request, str)
    before = values[0] if values else None
    if before is not None and not is_id("src", before):
        raise bad_cursor()
    sources = nouns(request).sources
    found, following = await sources.page(*_agent(request), before, limit_of(request))
    page = page_of([source.wire() for source in found], cursor_of([following]) if following else None)
    return json_response({**page, "counts": (await sources.counts(*_agent(request))).wire()})


async def get_source(request: web.Request) -> web.Response:
    return json_response((await nouns(request).sources.get(*_source(request))).wire())


async def patch_source(request: web.Request) -> web.Response:
    order = await read_schema(request, SourcePatch)
    return json_response((await nouns(request).sources.patch(*_source(request), order)).wire())


async def post_retry(request: web.Request) -> web.Response:
    return json_response((await nouns(request).sources.retry(*_source(request))).wire())


async def delete_source(request: web.Request) -> web.Response:
    order = await read_schema(request, Deletion)
    await nouns(request).sources.delete(*_source(request), order.actor, purge=order.purge)
    return web.Response(status=204)


async def post_claim(request: web.Request) -> web.Response:
    order = await read_schema(request, ClaimSource)
    job = await nouns(request).ingest.claim(order.lease_s)
    return json_response(job.wire() if job is not None else None)


async def get_content(request: web.Request) -> web.StreamResponse:
    content = await nouns(request).sources.content(workspace_of(request), path_id(request, "source_id"))
    return await streamed(request, content)


async def post_renew(request: web.Request) -> web.Response:
    progress = await read_schema(request, IngestProgress)
    return _held(await nouns(request).ingest.renew(path_id(request, "source_id"), progress))


async def post_passages(request: web.Request) -> web.Response:
    batch = await read_schema(request, IngestedPassages)
    return _held(await nouns(request).ingest.add(path_id(request, "source_id"), batch))


async def post_finish(request: web.Request) -> web.Response:
    outcome = await read_schema(request, IngestOutcome)
    return _held(await nouns(request).ingest.finish(path_id(request, "source_id"), outcome))


def _held(is_held: bool) -> web.Response:
    return json_response({"held": is_held})


def _agent(request: web.Request) -> tuple[str, str]:
    return workspace_of(request), path_id(request, "agent_id")


def _source(request: web.Request) -> tuple[str, str, str]:
    return *_agent(request), path_id(request, "source_id")


_ID: Final = rf"/{{source_id:{NAME_PATTERN}}}"
_SOURCE: Final = DRAFT + "/sources" + _ID
ROUTES: Final = (
    web.post(DRAFT + "/sources", post_source),
    web.get(DRAFT + "/sources", get_sources),
    web.get(_SOURCE, get_source),
    web.patch(_SOURCE, patch_source),
    web.delete(_SOURCE, delete_source),
    web.post(_SOURCE + "/retry", post_retry),
    web.put(_SOURCE + "/content", put_content),
    web.post("/ingest/claims", post_claim),
    web.get(WORKSPACE + "/ingest" + _ID + "/content", get_content),
    web.post("/ingest" + _ID + "/renew", post_renew),
    web.post("/ingest" + _ID + "/passages", post_passages),
    web.post("/ingest" + _ID + "/finish", post_finish),
)
