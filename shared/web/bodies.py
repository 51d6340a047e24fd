"""JSON bodies: read from a request within limits of time, size and depth, and written into a response."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from shared.contracts.errors import ApiError, Code

BODY_TIMEOUT_S: Final = 10.0
MAX_DEPTH: Final = 64
# An integer of 64 bits with its sign.
MAX_DIGITS: Final = 20


def reject_unstorable(value: Any, depth: int = 0) -> None:
    """Raises `invalid_json` for what a JSON parser accepts and the stores do not: huge integers, NUL, deep nesting."""
    if depth > MAX_DEPTH:
        raise ApiError(Code.INVALID_JSON, f"The body is nested deeper than {MAX_DEPTH} levels.")
    match value:
        case str() if "\0" in value:
            raise ApiError(Code.INVALID_JSON, "A text contains a NUL character.")
        case int() if not -(2**63) <= value < 2**63:
            raise ApiError(Code.INVALID_JSON, "An integer does not fit into 64 bits.")
        case list():
            for item in value:
                reject_unstorable(item, depth + 1)
        case dict():
            for name, item in value.items():
                reject_unstorable(name)
                reject_unstorable(item, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ApiError(Code.INVALID_JSON, "An object has two members of the same name.")
    return members


def _integer(text: str) -> int:
    # Longer ones would become floating-point numbers, and Python's own parser takes quadratic time for them.
    if len(text) > MAX_DIGITS:
        raise ApiError(Code.INVALID_JSON, "An integer does not fit into 64 bits.")
    return 0


# Only looks for what orjson takes without a word. Its result is not used.
_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=str)


def parse_public_json(raw: bytes) -> Any:
    """Parses a client's JSON, as `parse_json` does. Raises `invalid_json` also for a member that is given twice.

    Parsers disagree about which of the two counts, so a proxy or a log could see another request than Parley.
    """
    value = parse_json(raw)
    _STRICT.decode(raw.decode())
    return value


def parse_json(raw: bytes) -> Any:
    """Parses JSON that every store can hold. Raises `invalid_json`."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(Code.INVALID_JSON, "The body is not valid JSON in UTF-8.") from None
    reject_unstorable(value)
    return value


async def read_body(request: web.Request, limit: int = 0) -> bytes:
    """Reads the body. Raises `request_timeout`, `payload_too_large`, `unsupported_media_type`.

    `limit`: bytes that this request may have, if they are more than those of every request.
    """
    if limit > request.client_max_size:
        request = request.clone(client_max_size=limit)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not supported.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise ApiError(Code.REQUEST_TIMEOUT, headers={"Connection": "close"}) from None
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {request.client_max_size} bytes.") from None


async def read_json(request: web.Request, limit: int = 0) -> Any:
    """Reads and parses the JSON body of a client's request. `limit` as for `read_body`."""
    if request.content_type != "application/json":
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    return parse_public_json(await read_body(request, limit))


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )
