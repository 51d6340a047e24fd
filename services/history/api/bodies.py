"""JSON bodies of the internal API.

Unknown members are ignored, so that processes of two releases understand each other.
"""

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from shared.contracts.errors import ApiError, Code
from shared.web.bodies import parse_json, read_body

S = TypeVar("S", bound=BaseModel)


async def read_schema(request: web.Request, schema: type[S]) -> S:
    """The body as `schema`. Raises `invalid_json`, `validation_failed`."""
    value = parse_json(await read_body(request))
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        errors = [
            {"field": ".".join(map(str, fault["loc"])), "message": fault["msg"]}
            for fault in error.errors(include_input=False)
        ]
        raise ApiError(Code.VALIDATION_FAILED, errors=errors) from None
