"""Agents as their authors work with them: drafts, publishing, versions, and the audit of what was done."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import DRAFT, WORKSPACE, path_id, workspace_of
from shared.contracts.agent_records import DraftPatch, NewAgent, PublishOrder, RollbackOrder
from shared.contracts.errors import ApiError, Code
from shared.ids import is_name
from shared.web.bodies import json_response

MAX_NUMBER: Final = 999_999_999


class Actor(BaseModel):
    actor: str | None = None


async def post_draft(request: web.Request) -> web.Response:
    record = await nouns(request).drafts.create(workspace_of(request), await read_schema(request, NewAgent))
    return json_response(record.wire(), status=201)


async def get_drafts(request: web.Request) -> web.Response:
    after, limit = _after_id(request), limit_of(request)
    slug = request.query.get("slug")
    if slug is not None:
        record = await nouns(request).drafts.find_slug(workspace_of(request), slug)
        return json_response(page_of([record.wire()] if record is not None else [], None))
    records, following = await nouns(request).drafts.page(workspace_of(request), after, limit)
    return json_response(page_of([record.wire() for record in records], cursor_of([following]) if following else None))


async def get_draft(request: web.Request) -> web.Response:
    return json_response((await nouns(request).drafts.get(*_agent(request))).wire())


async def patch_draft(request: web.Request) -> web.Response:
    order = await read_schema(request, DraftPatch)
    return json_response((await nouns(request).drafts.patch(*_agent(request), order)).wire())


async def delete_agent(request: web.Request) -> web.Response:
    actor = (await read_schema(request, Actor)).actor
    await nouns(request).drafts.delete(*_agent(request), actor)
    return web.Response(status=204)


async def post_publish(request: web.Request) -> web.Response:
    order = await read_schema(request, PublishOrder)
    return json_response((await nouns(request).publishing.publish(*_agent(request), order)).wire())


async def post_rollback(request: web.Request) -> web.Response:
    order = await read_schema(request, RollbackOrder)
    return json_response((await nouns(request).publishing.rollback(*_agent(request), order)).wire())


async def get_versions(request: web.Request) -> web.Response:
    values = cursor_values(request, int)
    before = values[0] if values else None
    if before is not None and not 1 <= before <= MAX_NUMBER:
        raise bad_cursor()
    records, following = await nouns(request).versions.page(*_agent(request), before, limit_of(request))
    return json_response(page_of([record.wire() for record in records], cursor_of([following]) if following else None))


async def get_version_record(request: web.Request) -> web.Response:
    record = await nouns(request).versions.record(*_agent(request), int(path_id(request, "number")))
    return json_response(record.wire())


async def get_diff(request: web.Request) -> web.Response:
    text = request.query.get("against", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_NUMBER))):
        raise ApiError(
            Code.INVALID_REQUEST, "against must be the number of a version, or 0 for the draft.", param="against"
        )
    number = int(path_id(request, "number"))
    changes = await nouns(request).versions.diff(*_agent(request), number, int(text))
    return json_response([change.model_dump(mode="json", by_alias=True) for change in changes])


async def get_audit(request: web.Request) -> web.Response:
    before = _after_id(request)
    records, following = await nouns(request).audit.page(workspace_of(request), before, limit_of(request))
    return json_response(page_of([record.wire() for record in records], cursor_of([following]) if following else None))


def _agent(request: web.Request) -> tuple[str, str]:
    return workspace_of(request), path_id(request, "agent_id")


def _after_id(request: web.Request) -> str | None:
    values = cursor_values(request, str)
    # Not `is_id`: operators name agents as they like.
    if values and not is_name(values[0]):
        raise bad_cursor()
    return values[0] if values else None


_NUMBER: Final = r"/versions/{number:\d{1,9}}"
ROUTES: Final = (
    web.post(WORKSPACE + "/drafts", post_draft),
    web.get(WORKSPACE + "/drafts", get_drafts),
    web.get(DRAFT, get_draft),
    web.patch(DRAFT, patch_draft),
    web.delete(DRAFT, delete_agent),
    web.post(DRAFT + "/publish", post_publish),
    web.post(DRAFT + "/rollback", post_rollback),
    web.get(DRAFT + "/versions", get_versions),
    web.get(DRAFT + _NUMBER, get_version_record),
    web.get(DRAFT + _NUMBER + "/diff", get_diff),
    web.get(WORKSPACE + "/audit", get_audit),
)
