"""Pure: the OpenAPI 3.1 document of a route table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.edge.json_schema import PROBLEM, Named
from services.gateway.edge.openapi_links import links_of, path_names
from services.gateway.edge.operation_names import TAGS, operation_id, reading_order, tag_of
from services.gateway.edge.route import Param, Reply, Route
from services.gateway.edge.schema_names import REF, hoisted, reference, shape_of
from shared.contracts.errors import MEANINGS, Code
from shared.version import VERSION

_DESCRIPTION: Final = (
    "Published conversational agents over HTTP. `HEAD` answers with headers only wherever `GET` is allowed. A client "
    "that closes its side of the connection (a half-close) counts as disconnected."
)
_ALWAYS: Final = (
    Code.INVALID_REQUEST,
    Code.RATE_LIMITED,
    Code.INTERNAL_ERROR,
    Code.DEPENDENCY_UNAVAILABLE,
    Code.DRAINING,
)
_KEYED: Final = (Code.MISSING_API_KEY, Code.INVALID_API_KEY, Code.EXPIRED_API_KEY, Code.INSUFFICIENT_SCOPE)
_HEADERS: Final = {"x-request-id": {"description": "names this request in the logs", "schema": {"type": "string"}}}


def document(
    routes: Sequence[Route[Any]],
    base: str,
    server: str = "/",
    *,
    contracts: tuple[type[BaseModel], ...] = (),
    named: tuple[Named, ...] = (),
    examples: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`contracts` and `named` are shapes that no route answers with. `examples` are bodies, by their model's name."""
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=reading_order):
        paths.setdefault(base + route.path, {})[route.method.lower()] = _operation(route, examples or {}, routes)
    found: dict[str, Any] = {}
    paths = hoisted(paths, found)
    hoisted(named, found)
    used = {operation["tags"][0] for item in paths.values() for operation in item.values()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Parley", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": server}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "schemas": _with_examples(_schemas(routes, contracts), examples or {}) | found,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "`parley_sk_…`, `parley_pk_…`"}
            },
        },
    }


def _schemas(routes: Sequence[Route[Any]], more: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    contracts: dict[type[BaseModel], None] = dict.fromkeys(more)
    for route in routes:
        replies = [reply.schema for variants in route.replies.values() for reply in variants]
        for schema in [route.request, *replies]:
            if isinstance(schema, type):
                contracts[schema] = None
    # "validation": members with a default may be missing, as they are in the JSON that is sent.
    _, definitions = models_json_schema(
        [(contract, "validation") for contract in contracts], ref_template=REF + "{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _with_examples(schemas: dict[str, Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: schema | {"examples": [examples[name]]} if name in examples else schema
        for name, schema in schemas.items()
    }


def _operation(route: Route[Any], examples: Mapping[str, Any], routes: Sequence[Route[Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag_of(route)],
        "parameters": [*_path_params(route.path), *(_param(param) for param in route.params)],
        "responses": _responses(route, routes),
        "security": [] if route.scope is None else [{"key": [str(route.scope)]}],
    }
    if route.request is not None:
        name = route.request.__name__
        operation["requestBody"] = _body(reference(name), required=True, example=examples.get(name))
    elif route.body_optional:
        operation["requestBody"] = _body(_NOTHING, required=False)
    return operation


def _path_params(path: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in path_names(path)]


def _param(param: Param) -> dict[str, Any]:
    shown = {
        "name": param.name,
        "in": param.location,
        "required": False,
        "description": param.description,
        "schema": param.schema,
    }
    return shown | {"style": param.style, "explode": True} if param.style else shown


def _body(schema: dict[str, Any], *, required: bool, example: Any = None) -> dict[str, Any]:
    media = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"required": required, "content": {"application/json": media}}


_NOTHING: Final = Named("Nothing", {"type": "object", "additionalProperties": False})


def _responses(route: Route[Any], routes: Sequence[Route[Any]]) -> dict[str, Any]:
    """A face answers some failures in its own protocol: these are beside the problem document of the same status."""
    own = {str(status): _success(replies) for status, replies in route.replies.items()}
    for code, replies in route.replies.items():
        if links := links_of(route, replies, routes):
            own[str(code)]["links"] = links
    responses = own | _failures(route)
    for status in own.keys() & _failures(route).keys():
        description = f"{own[status]['description']}; or {responses[status]['description']}"
        content = own[status].get("content", {}) | responses[status]["content"]
        responses[status] |= {"description": description, "content": content}
    return responses


def _success(replies: tuple[Reply, ...]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; or ".join(reply.description for reply in replies),
        "headers": _HEADERS,
    }
    content = {reply.media_type: {"schema": shape_of(reply)} for reply in replies if reply.schema is not None}
    return response | {"content": content} if content else response


def _failures(route: Route[Any]) -> dict[str, Any]:
    """One response per status, which names the codes that it may carry."""
    by_status: dict[int, list[Code]] = {}
    for code in dict.fromkeys([*_ALWAYS, *(_KEYED if route.scope is not None else ()), *route.errors]):
        by_status.setdefault(MEANINGS[code].status, []).append(code)
    return {str(status): _failure(codes) for status, codes in sorted(by_status.items())}


def _failure(codes: list[Code]) -> dict[str, Any]:
    described = "; ".join(f"`{code}`: {MEANINGS[code].title}" for code in codes)
    return {
        "description": described,
        "headers": _HEADERS,
        "content": {"application/problem+json": {"schema": PROBLEM}},
    }
