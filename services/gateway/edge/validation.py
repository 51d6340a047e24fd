"""Checks of request bodies, headers and query parameters, before anything else happens."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from shared.contracts.errors import ApiError, Code
from shared.contracts.faults import own_faults
from shared.contracts.schema import PublicRequest
from shared.web.bodies import parse_public_json, read_body, read_json

Model = TypeVar("Model", bound=BaseModel)

MAX_ERRORS: Final = 20
# In `detail`, which is all that some clients show.
MAX_TOLD: Final = 3
MAX_NAME: Final = 100
MAX_PAGE: Final = 200
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_CURSOR = re.compile(r"[\x21-\x7e]{1,500}")

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


class Nothing(PublicRequest):
    """The body of an action that takes none: absent, or an empty object."""


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """`{field, message}` for each fault, never the value that was sent."""
    found = own_faults(error.errors(include_url=False, include_context=False, include_input=False))[:MAX_ERRORS]
    return [{"field": _path(item["loc"]), "message": _said(item)} for item in found]


def _said(fault: ErrorDetails) -> str:
    kinds = {"missing": "is required", "extra_forbidden": "is not a known member"}
    text = kinds.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    # JSON has lists and no tuples.
    return text.replace("Tuple should", "List should").replace("valid tuple", "valid list")


def _path(location: tuple[int | str, ...]) -> str:
    """`messages[0].role`, as OpenAI's `param` spells it."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")[:MAX_NAME] or "body"


def validated(model: type[Model], value: Any) -> Model:
    """Raises `validation_failed`."""
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = field_errors(error)
        told = "; ".join(f"{fault['field']}: {fault['message']}" for fault in errors[:MAX_TOLD])
        raise ApiError(Code.VALIDATION_FAILED, f"The body does not match the schema. {told}", errors=errors) from None


def validated_openai(model: type[Model], value: Any) -> Model:
    """Raises `invalid_request` with the first member at fault as `param`, as OpenAI's API does."""
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = field_errors(error)
        first = errors[0]
        detail = f"{first['field']}: {first['message']}"
        raise ApiError(Code.INVALID_REQUEST, detail, errors=errors, param=first["field"]) from None


async def json_body(request: web.Request, model: type[Model]) -> Model:
    return validated(model, await read_json(request))


async def no_body(request: web.Request) -> None:
    """Accepts no body or an empty object, with any content type."""
    raw = await read_body(request)
    if raw:
        validated(Nothing, parse_public_json(raw))


def canonical(value: Any) -> bytes:
    """The same bytes for the same JSON, independent of the order of members."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def idempotency_key(request: web.Request) -> str | None:
    given = request.headers.getall("Idempotency-Key", [])
    if not given:
        return None
    if len(given) > 1 or _IDEMPOTENCY_KEY.fullmatch(given[0]) is None:
        raise refused("Idempotency-Key", "must be 1 to 200 visible ASCII characters")
    return given[0]


def wants_async(request: web.Request) -> bool:
    """`Prefer: respond-async` (RFC 7240)."""
    preferences = ",".join(request.headers.getall("Prefer", [])).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def page_query(query: Mapping[str, str], **choices: tuple[str, ...]) -> dict[str, str]:
    """`limit`, `cursor` and the given choices, such as `order=("asc", "desc")`. Raises `invalid_request`."""
    page = {"limit": str(page_limit(query))}
    cursor = query.get("cursor")
    if cursor is not None:
        if _CURSOR.fullmatch(cursor) is None:
            raise refused("cursor", "is not a cursor of this list: take nextCursor of the page before, or leave it out")
        page["cursor"] = cursor
    for name, allowed in choices.items():
        value = query.get(name)
        if value is not None:
            if value not in allowed:
                raise refused(name, f"must be one of {', '.join(allowed)}")
            page[name] = value
    return page


def page_limit(query: Mapping[str, str], default: int = 50) -> int:
    text = query.get("limit", str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MAX_PAGE):
        raise refused("limit", f"must be an integer from 1 to {MAX_PAGE}")
    return int(text)


def refused(name: str, message: str) -> ApiError:
    """The error for a malformed header or query parameter."""
    return ApiError(
        Code.INVALID_REQUEST, f"{name} {message}.", errors=[{"field": name, "message": message}], param=name
    )
