"""Pages of stored completions, and of one completion's messages."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import MultiMapping

from services.gateway.call import Call, Route
from services.gateway.completions.schemas import STORED_COMPLETIONS, STORED_MESSAGES
from services.gateway.completions.shapes import message_shape, turn_id_of
from services.gateway.completions.stored import kept, shown
from services.gateway.edge.params import ORDER, SHORT_LIMIT
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import page_limit, refused
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.turns import StoredTurn
from shared.ids import is_id
from shared.web.bodies import json_response

_ORDERS: Final = ("asc", "desc")
# OpenAI's name of a filter: `metadata[key]=value`.
_LABEL: Final = re.compile(r"metadata\[(.*)\]", re.DOTALL)
MAX_LABELS: Final = 16
COMPLETION_ID: Final = {"type": "string", "pattern": "^chatcmpl-[0-9a-hjkmnp-tv-z]{26}$"}
METADATA: Final = Param(
    "metadata",
    {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16},
    "`metadata[key]=value`, any number of pairs: only completions that have all of them",
    style="deepObject",
)


async def list_all(call: Call) -> web.StreamResponse:
    """A page of the workspace's stored completions, after the completion `after`."""
    page = await call.dependencies.history.completions(call.workspace, _list_query(call.request.query))
    shapes = [shown(StoredTurn.model_validate(item)) for item in page["items"]]
    return json_response(_listed(shapes, more=page["nextCursor"] is not None))


def _list_query(query: MultiMapping[str]) -> list[tuple[str, str]]:
    """The listing's parameters as history takes them. Raises `invalid_request`."""
    found = [("limit", str(page_limit(query, 20))), ("order", _order(query))]
    if (after := query.get("after")) is not None:
        if not is_id("trn", turn_id_of(after)):
            raise refused("after", "is not a completion's id")
        found.append(("after", turn_id_of(after)))
    if (model := query.get("model")) is not None:
        found.append(("agentId", model))
    labels = [(match[1], value) for name, value in query.items() if (match := _LABEL.fullmatch(name))]
    if len(labels) > MAX_LABELS:
        raise refused("metadata", f"may have at most {MAX_LABELS} pairs")
    return found + [("label", orjson.dumps(label).decode()) for label in labels]


def _order(query: Mapping[str, str]) -> str:
    order = query.get("order", "asc")
    if order not in _ORDERS:
        raise refused("order", "must be one of asc, desc")
    return order


def _listed(shapes: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    edges = {"first_id": shapes[0]["id"] if shapes else None, "last_id": shapes[-1]["id"] if shapes else None}
    return {"object": "list", "data": shapes, **edges, "has_more": more}


async def messages(call: Call) -> web.StreamResponse:
    """A page of the caller's messages, after the message `after`."""
    query = call.request.query
    limit, order = page_limit(query, 20), _order(query)
    stored = await kept(call)
    name = call.request.match_info["completionId"]
    shapes = [message_shape(name, index, message) for index, message in enumerate(stored.input)]
    if order == "desc":
        shapes.reverse()
    ids = [shape["id"] for shape in shapes]
    after = query.get("after")
    if after is not None and after not in ids:
        raise refused("after", "is not a message of this completion")
    start = ids.index(after) + 1 if after is not None else 0
    page = shapes[start : start + limit]
    return json_response(_listed(page, more=start + limit < len(shapes)))


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/chat/completions",
        serve=list_all,
        scope=Scope.CHAT_READ,
        summary="List stored completions",
        params=(
            Param("model", {"type": "string"}, "only this agent's"),
            METADATA,
            SHORT_LIMIT,
            ORDER,
            Param("after", COMPLETION_ID, "the last completion of the page before"),
        ),
        replies={200: (Reply("a page of completions", STORED_COMPLETIONS, envelope=False),)},
        openai=True,
    ),
    Route(
        method="GET",
        path="/chat/completions/{completionId}/messages",
        serve=messages,
        scope=Scope.CHAT_READ,
        summary="The caller's messages of a stored completion",
        params=(
            SHORT_LIMIT,
            ORDER,
            Param("after", {"type": "string"}, "the id of the last message of the page before"),
        ),
        replies={200: (Reply("a page of messages", STORED_MESSAGES, envelope=False),)},
        errors=(Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
)
