"""Knowledge sources of an agent: added, listed, changed, read again and deleted."""

from typing import Annotated, Any, Final, Literal, Self

import orjson
from aiohttp import web
from pydantic import Field, model_validator

from services.gateway.api.agents import agent_id
from services.gateway.api.schemas import DELETED
from services.gateway.api.uploads import Form, checked_name, content_of
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import json_body, no_body, page_query, refused, validated
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.knowledge import NewSource, RefreshHours, Source, SourcePatch, Tags, Title, Url
from shared.contracts.schema import PublicRequest
from shared.ids import new_id
from shared.web.bodies import json_response

MAX_PAIRS: Final = 1_000


class Pair(PublicRequest):
    question: str = Field(min_length=1, max_length=1_000)
    answer: str = Field(min_length=1, max_length=20_000)


class AddSource(PublicRequest):
    """`text` belongs to kind `text`, `pairs` to `faq`, `url` to `url` and `sitemap`. Files come as a multipart form."""

    kind: Literal["text", "faq", "url", "sitemap"]
    title: Title = ""
    url: Url | None = Field(default=None, description="what is read; of other kinds, what citations point to")
    text: str | None = Field(default=None, min_length=1)
    pairs: tuple[Pair, ...] | None = Field(default=None, min_length=1, max_length=MAX_PAIRS, strict=False)
    tags: Annotated[Tags, Field(strict=False)] = ()
    refresh_hours: RefreshHours | None = Field(default=None, description="how often a URL is read again")

    @model_validator(mode="after")
    def _has_its_content(self) -> Self:
        wanted = {"text": "text", "faq": "pairs", "url": "url", "sitemap": "url"}[self.kind]
        if getattr(self, wanted) is None:
            raise ValueError(f"kind {self.kind} needs {wanted}")
        if self.refresh_hours is not None and wanted != "url":
            raise ValueError("only sources of kind url and sitemap have refreshHours")
        for other in {"text", "pairs"} - {wanted}:
            if getattr(self, other) is not None:
                raise ValueError(f"kind {self.kind} has no {other}")
        return self

    @property
    def content(self) -> str | None:
        if self.pairs is not None:
            return orjson.dumps([pair.model_dump() for pair in self.pairs]).decode()
        return self.text


class UploadFields(PublicRequest):
    """The fields beside the file."""

    kind: Literal["file"] = "file"
    title: Title = ""
    url: Url | None = None
    tags: Annotated[Tags, Field(strict=False)] = ()


class ChangeSource(PublicRequest):
    """Members that are left out stay as they are, and none can be null. A new `url` of a URL source is read at once."""

    title: Title = Field(default_factory=str)
    url: Url = Field(default_factory=str)
    tags: Annotated[Tags, Field(strict=False)] = Field(default_factory=tuple)
    refresh_hours: RefreshHours = Field(default_factory=int)


def source_id(call: Call) -> str:
    return call.path_id("sourceId", "src", Code.NOT_FOUND)


def shown(source: Source) -> dict[str, Any]:
    return source.model_dump(mode="json", by_alias=True)


async def add(call: Call) -> web.StreamResponse:
    """202: the source waits for a worker. Content that the agent has already is the source that it has."""
    wanted = agent_id(call)
    if call.request.content_type == "multipart/form-data":
        order = await _uploaded(call, wanted)
    else:
        body = await json_body(call.request, AddSource)
        members = body.model_dump(exclude={"text", "pairs"})
        order = NewSource(id=new_id("src"), content=body.content, actor=call.principal.key_id, **members)
    source = await call.dependencies.history.create_source(call.workspace, wanted, order)
    location = f"{call.request.path}/{source.id}"
    return data_response(shown(source), status=202, headers={"Location": location})


async def _uploaded(call: Call, wanted: str) -> NewSource:
    form, new = Form(call.request), new_id("src")
    part = await form.file()
    if part is None:
        raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": "file", "message": "The form has no file."}])
    name = checked_name(part)
    stored = await call.dependencies.history.upload_source(call.workspace, wanted, new, content_of(part, name))
    await form.rest()
    members: dict[str, Any] = {field: value for field, value in form.fields if field != "tags" and value}
    members["tags"] = [value for field, value in form.fields if field == "tags" and value]
    fields = validated(UploadFields, members)
    return NewSource(
        id=new,
        stored=stored,
        file_name=name,
        content_type=part.headers.get("Content-Type", "").partition(";")[0].strip().lower()[:100],
        actor=call.principal.key_id,
        **fields.model_dump(),
    )


async def list_all(call: Call) -> web.StreamResponse:
    """`counts` are of all sources, by state."""
    wanted = agent_id(call)
    page = await call.dependencies.history.source_list(call.workspace, wanted, page_query(call.request.query))
    items = [shown(Source.model_validate(item)) for item in page["items"]]
    pagination = {"nextCursor": page.get("nextCursor"), "counts": page["counts"]}
    return json_response({"success": True, "data": items, "pagination": pagination})


async def get(call: Call) -> web.StreamResponse:
    wanted, source = agent_id(call), source_id(call)
    return data_response(shown(await call.dependencies.history.source(call.workspace, wanted, source)))


async def patch(call: Call) -> web.StreamResponse:
    wanted, source = agent_id(call), source_id(call)
    body = await json_body(call.request, ChangeSource)
    order = SourcePatch(actor=call.principal.key_id, **{name: getattr(body, name) for name in body.model_fields_set})
    return data_response(shown(await call.dependencies.history.patch_source(call.workspace, wanted, source, order)))


async def retry(call: Call) -> web.StreamResponse:
    wanted, source = agent_id(call), source_id(call)
    await no_body(call.request)
    found = await call.dependencies.history.retry_source(call.workspace, wanted, source)
    return data_response(shown(found), status=202)


async def delete(call: Call) -> web.StreamResponse:
    wanted, source = agent_id(call), source_id(call)
    text = call.request.query.get("purge", "false")
    if text not in ("true", "false"):
        raise refused("purge", "must be true or false")
    await no_body(call.request)
    actor = call.principal.key_id
    await call.dependencies.history.delete_source(call.workspace, wanted, source, actor, purge=text == "true")
    return data_response({"id": source, "deleted": True})


_SOURCES: Final = "/agents/{agentId}/knowledge/sources"
_SOURCE: Final = _SOURCES + "/{sourceId}"
_ABSENT: Final = (Code.AGENT_NOT_FOUND, Code.NOT_FOUND)
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path=_SOURCES,
        serve=add,
        scope=Scope.AGENTS_WRITE,
        summary="Add a knowledge source; a file (up to 25 MiB) as a form with the parts file, title, url, tags",
        request=AddSource,
        replies={202: (Reply("the source, waiting to be read", Source, gives={_SOURCE: "id"}),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.OVERLOADED),
    ),
    Route(
        method="GET",
        path=_SOURCES,
        serve=list_all,
        scope=Scope.AGENTS_READ,
        summary="List knowledge sources, newest first; `pagination.counts` says how many are in each state",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of sources", Source, paged=True),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="GET",
        path=_SOURCE,
        serve=get,
        scope=Scope.AGENTS_READ,
        summary="Get a knowledge source: its state, progress, and why it failed",
        replies={200: (Reply("the source", Source),)},
        errors=_ABSENT,
    ),
    Route(
        method="PATCH",
        path=_SOURCE,
        serve=patch,
        scope=Scope.AGENTS_WRITE,
        summary="Change a knowledge source's title, address, tags or schedule",
        request=ChangeSource,
        replies={200: (Reply("the source", Source),)},
        errors=(*OWN_BODY, *_ABSENT),
    ),
    Route(
        method="POST",
        path=_SOURCE + "/retry",
        serve=retry,
        scope=Scope.AGENTS_WRITE,
        summary="Read a knowledge source again",
        body_optional=True,
        replies={202: (Reply("the source, waiting to be read", Source),)},
        errors=(*OWN_BODY, *_ABSENT),
    ),
    Route(
        method="DELETE",
        path=_SOURCE,
        serve=delete,
        scope=Scope.AGENTS_WRITE,
        summary="Delete a knowledge source from the draft; published versions keep it unless `purge=true`",
        params=(Param("purge", {"enum": ["true", "false"], "default": "false"}, "take it from every version too"),),
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, *_ABSENT),
    ),
)
