"""Pages: limits, orders, and opaque cursors that say where a page ended."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final, Literal

import orjson
from aiohttp import web

from shared.contracts.errors import ApiError, Code

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200


def limit_of(request: web.Request, most: int = MAX_LIMIT) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= most):
        raise ApiError(Code.INVALID_REQUEST, f"limit must be a number from 1 to {most}.", param="limit")
    return int(text)


def direction_of(request: web.Request, default: Literal["asc", "desc"] = "asc") -> Literal["asc", "desc"]:
    match request.query.get("order", default):
        case "asc":
            return "asc"
        case "desc":
            return "desc"
    raise ApiError(Code.INVALID_REQUEST, "order must be asc or desc.", param="order")


def bad_cursor() -> ApiError:
    detail = "The cursor was not issued by this API: take nextCursor of the page before, or leave it out."
    return ApiError(Code.INVALID_REQUEST, detail, param="cursor")


def cursor_of(values: list[Any]) -> str:
    return urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def cursor_values(request: web.Request, *types: type) -> list[Any] | None:
    """The values that `cursor_of` was given; None without a cursor. Raises `invalid_request` for any other form."""
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
