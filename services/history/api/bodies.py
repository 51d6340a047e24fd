"""What comes in over the internal API: bodies of a known shape, and pages asked for by cursor and limit."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from shared.contracts.errors import ApiError, Code
from shared.web.bodies import parse_json, read_body

S = TypeVar("S", bound=BaseModel)
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

# The only spellings that reach a query, and that can be joined with `:` into a document's id.
WORKSPACE: Final = r"/workspaces/{workspace:[A-Za-z0-9_-]{1,64}}"
AGENT: Final = WORKSPACE + r"/agents/{agent_id:[A-Za-z0-9_-]{1,64}}"
SESSION: Final = WORKSPACE + r"/sessions/{session_id:[A-Za-z0-9_-]{1,64}}"
TURN: Final = WORKSPACE + r"/turns/{turn_id:[A-Za-z0-9_-]{1,64}}"


async def read_schema(request: web.Request, shape: type[S]) -> S:
    """The body as `shape`. Raises `invalid_json`, `validation_failed`."""
    value = parse_json(await read_body(request))
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        errors = [
            {"field": ".".join(map(str, fault["loc"])), "message": fault["msg"]}
            for fault in error.errors(include_input=False)
        ]
        raise ApiError(Code.VALIDATION_FAILED, errors=errors) from None


def part(request: web.Request, name: str) -> str:
    """A part of the path; the route's pattern has checked it."""
    return request.match_info[name]


def limit_of(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise ApiError(Code.INVALID_REQUEST, f"limit must be a number from 1 to {MAX_LIMIT}.", param="limit")
    return int(text)


def bad_cursor() -> ApiError:
    return ApiError(Code.INVALID_REQUEST, "The cursor is not one of ours.", param="cursor")


def cursor_of(values: list[Any]) -> str:
    """An opaque text that says where a page ended."""
    return urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def cursor_values(request: web.Request, *types: type) -> list[Any] | None:
    """What `cursor_of` was given, None without a cursor. Raises `invalid_request` for anything of another shape."""
    text = request.query.get("cursor")
    if text is None:
        return None
    if len(text) > 500 or not text.isascii():
        raise bad_cursor()
    try:
        values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        raise bad_cursor() from None
    if not isinstance(values, list) or [type(value) for value in values] != list(types):
        raise bad_cursor()
    return values


def page_of(items: list[Any], next_cursor: str | None) -> dict[str, Any]:
    return {"items": items, "nextCursor": next_cursor}
