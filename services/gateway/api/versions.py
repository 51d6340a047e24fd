"""An agent's versions: published, listed, compared, and rolled back to."""

from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.gateway.api.agents import agent_id
from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import Named
from services.gateway.edge.params import CURSOR, IDEMPOTENCY, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import idempotency_key, page_query, refused, validated
from shared.contracts.agent_records import Change, PublishOrder, RollbackOrder, VersionRecord
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest
from shared.web.bodies import parse_public_json, read_body

_CHANGES: Final = Named("Changes", {"type": "array", "items": Named("Change", Change.model_json_schema(by_alias=True))})


class Publish(PublicRequest):
    """The body of a publishing, which may be left out."""

    note: str = Field(default="", max_length=2000, description="what changed, for whoever reads the list of versions")
    require_checks: bool = Field(
        default=False,
        description="the version stays `preparing` until its checks have passed, and fails if one of them fails",
    )


class Rollback(PublicRequest):
    version: int = Field(ge=1, description="the version that new sessions get")


def shown(record: VersionRecord) -> dict[str, Any]:
    shown = record.model_dump(mode="json", by_alias=True)
    if record.config is None:
        del shown["config"]
    return shown


async def publish(call: Call) -> web.StreamResponse:
    """202: the version may still be `preparing`. Its `Location` says when it is published."""
    wanted, key = agent_id(call), idempotency_key(call.request)
    raw = await read_body(call.request)
    body = validated(Publish, parse_public_json(raw) if raw else {})
    order = PublishOrder(note=body.note, require_checks=body.require_checks, key=key, actor=call.principal.key_id)
    record = await call.dependencies.history.publish_draft(call.workspace, wanted, order)
    location = call.request.path.removesuffix("/publish") + f"/versions/{record.number}"
    return data_response(shown(record), status=202, headers={"Location": location})


async def rollback(call: Call) -> web.StreamResponse:
    wanted = agent_id(call)
    body = validated(Rollback, parse_public_json(await read_body(call.request)))
    order = RollbackOrder(version=body.version, actor=call.principal.key_id)
    return data_response(shown(await call.dependencies.history.rollback_agent(call.workspace, wanted, order)))


async def list_all(call: Call) -> web.StreamResponse:
    wanted = agent_id(call)
    page = await call.dependencies.history.version_list(call.workspace, wanted, page_query(call.request.query))
    return page_response({**page, "items": [shown(VersionRecord.model_validate(item)) for item in page["items"]]})


async def get(call: Call) -> web.StreamResponse:
    record = await call.dependencies.history.version_record(call.workspace, agent_id(call), number_of(call))
    return data_response(shown(record))


async def diff(call: Call) -> web.StreamResponse:
    """`against` is a version's number, or 0 for the draft; without it, the version before."""
    number = number_of(call)
    text = call.request.query.get("against", str(number - 1))
    if not is_number(text):
        raise refused("against", "must be the number of a version, or 0 for the draft")
    changes = await call.dependencies.history.version_diff(call.workspace, agent_id(call), number, int(text))
    return data_response([change.model_dump(mode="json", by_alias=True) for change in changes])


def number_of(call: Call) -> int:
    """The version's number in the path; the draft is 0. A malformed one is answered like one that does not exist."""
    text = call.request.match_info["version"]
    if not is_number(text):
        raise ApiError(Code.NOT_FOUND, "This agent has no such version.")
    return int(text)


def is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/agents/{agentId}/publish",
        serve=publish,
        scope=Scope.AGENTS_WRITE,
        summary="Publish the draft as the next version; `Location` says when it is published",
        request=Publish,
        params=(IDEMPOTENCY,),
        replies={
            202: (
                Reply(
                    "the version, perhaps still `preparing`",
                    VersionRecord,
                    gives={"/agents/{agentId}/versions/{version}": "number"},
                ),
            )
        },
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/agents/{agentId}/rollback",
        serve=rollback,
        scope=Scope.AGENTS_WRITE,
        summary="Give new sessions another version that was published",
        request=Rollback,
        replies={200: (Reply("the version", VersionRecord),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/agents/{agentId}/versions",
        serve=list_all,
        scope=Scope.AGENTS_READ,
        summary="List versions without their configurations, highest first",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of versions", VersionRecord, paged=True),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/agents/{agentId}/versions/{version}",
        serve=get,
        scope=Scope.AGENTS_READ,
        summary="Get a version with its configuration",
        replies={200: (Reply("the version", VersionRecord),)},
        errors=(Code.AGENT_NOT_FOUND, Code.NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/agents/{agentId}/versions/{version}/diff",
        serve=diff,
        scope=Scope.AGENTS_READ,
        summary="Compare a version with another one; version 0 is the draft",
        params=(Param("against", {"type": "integer", "minimum": 0}, "the other version; without it, the one before"),),
        replies={200: (Reply("what changed from `against` to this version", _CHANGES),)},
        errors=(Code.AGENT_NOT_FOUND, Code.NOT_FOUND),
    ),
)
