"""Agents: the draft, created, read, changed and deleted. Versions are in `versions.py`."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.api.schemas import DELETED
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, IDEMPOTENCY, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import idempotency_key, no_body, page_query, refused
from shared.contracts.agent_records import AgentRecord, DraftPatch, NewAgent
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.ids import new_id
from shared.web.bodies import parse_public_json, read_body

MAX_TAG: Final = 40
MAX_SLUG: Final = 64
SLUG: Final = Param("slug", {"type": "string", "minLength": 1, "maxLength": MAX_SLUG}, "only the agent of this slug")


class CreateAgent(AgentConfig):
    """An agent's configuration, and its slug beside it. What it must satisfy is checked where it is stored."""

    slug: str | None = Field(default=None, description="names the agent in `model`; made of its name when left out")


class PatchAgent(BaseModel):
    """A JSON merge patch (RFC 7396) of the draft; `slug` renames the agent."""

    model_config = ConfigDict(extra="allow", frozen=True)

    slug: str = Field(default_factory=str)


def agent_id(call: Call) -> str:
    return call.path_id("agentId", "agt", Code.AGENT_NOT_FOUND)


def shown(record: AgentRecord) -> dict[str, Any]:
    """All members but an absent draft; those without a value as null."""
    shown = record.model_dump(mode="json", by_alias=True)
    if record.draft is None:
        del shown["draft"]
    return shown


def _with_tag(record: AgentRecord, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return data_response(shown(record), status=status, headers={"ETag": f'"{record.revision}"', **(headers or {})})


async def create(call: Call) -> web.StreamResponse:
    """With an `Idempotency-Key` a repeat is the same agent."""
    body = await json_object(call.request)
    slug = body.pop("slug", None)
    key = idempotency_key(call.request)
    order = NewAgent(id=new_id("agt"), key=key, slug=_text_or_none(slug), draft=body, actor=call.principal.key_id)
    record = await call.dependencies.history.create_draft(call.workspace, order)
    return _with_tag(record, status=201, headers={"Location": f"{call.request.path}/{record.id}"})


async def list_all(call: Call) -> web.StreamResponse:
    query = page_query(call.request.query)
    if (slug := call.request.query.get("slug")) is not None:
        if not 1 <= len(slug) <= MAX_SLUG:
            raise refused("slug", f"must have 1 to {MAX_SLUG} characters")
        query["slug"] = slug
    page = await call.dependencies.history.draft_list(call.workspace, query)
    return page_response({**page, "items": [shown(AgentRecord.model_validate(item)) for item in page["items"]]})


async def get(call: Call) -> web.StreamResponse:
    return _with_tag(await call.dependencies.history.draft(call.workspace, agent_id(call)))


async def patch(call: Call) -> web.StreamResponse:
    wanted, revision = agent_id(call), if_match(call.request)
    body = await json_object(call.request)
    slug = _text(body.pop("slug")) if "slug" in body else None
    order = DraftPatch(patch=body, slug=slug, revision=revision, actor=call.principal.key_id)
    return _with_tag(await call.dependencies.history.patch_draft(call.workspace, wanted, order))


async def delete(call: Call) -> web.StreamResponse:
    wanted = agent_id(call)
    await no_body(call.request)
    await call.dependencies.history.delete_agent(call.workspace, wanted, call.principal.key_id)
    return data_response({"id": wanted, "deleted": True})


async def json_object(request: web.Request) -> dict[str, Any]:
    """A body that is an object with members of its author's choosing; `application/merge-patch+json` counts as JSON."""
    if request.content_type not in ("application/json", "application/merge-patch+json"):
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    value = parse_public_json(await read_body(request))
    if not isinstance(value, dict):
        raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": "body", "message": "must be an object"}])
    return value


def if_match(request: web.Request) -> int | None:
    """The revision that an editor saw (RFC 9110, 13.1.1): `"7"`, `W/"7"`, or `*` and nothing for any."""
    text = request.headers.get("If-Match", "*").strip()
    if text == "*":
        return None
    digits = text.removeprefix("W/").strip('"')
    if len(text) > MAX_TAG or not (digits.isascii() and digits.isdecimal()):
        raise refused("If-Match", "is not an entity tag of this agent")
    return int(digits)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": "slug", "message": "must be a string"}])
    return value


IF_MATCH: Final = Param(
    "If-Match", {"type": "string"}, "the `ETag` that the editor read; another editor's change since then: 409", "header"
)
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/agents",
        serve=create,
        scope=Scope.AGENTS_WRITE,
        summary="Create an agent with its draft",
        request=CreateAgent,
        params=(IDEMPOTENCY,),
        replies={201: (Reply("the agent", AgentRecord, gives={"/agents/{agentId}": "id"}),)},
        errors=OWN_BODY,
    ),
    Route(
        method="GET",
        path="/agents",
        serve=list_all,
        scope=Scope.AGENTS_READ,
        summary="List agents without their drafts, newest first",
        params=(SLUG, LIMIT, CURSOR),
        replies={200: (Reply("a page of agents", AgentRecord, paged=True),)},
    ),
    Route(
        method="GET",
        path="/agents/{agentId}",
        serve=get,
        scope=Scope.AGENTS_READ,
        summary="Get an agent with its draft; `ETag` is the draft's revision",
        replies={200: (Reply("the agent", AgentRecord),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="PATCH",
        path="/agents/{agentId}",
        serve=patch,
        scope=Scope.AGENTS_WRITE,
        summary="Change the draft by a JSON merge patch, whole or not at all",
        request=PatchAgent,
        params=(IF_MATCH,),
        replies={200: (Reply("the agent", AgentRecord),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.VERSION_CONFLICT),
    ),
    Route(
        method="DELETE",
        path="/agents/{agentId}",
        serve=delete,
        scope=Scope.AGENTS_WRITE,
        summary="Delete an agent and its knowledge; its sessions end, their transcripts stay",
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND),
    ),
)
