"""The one error body of every server, and which problem an exception becomes."""

from typing import Final

import orjson
from aiohttp import web

from shared.contracts.errors import ApiError, Code
from shared.tracing.spans import trace_id

_CODES: Final = {
    404: Code.NOT_FOUND,
    408: Code.REQUEST_TIMEOUT,
    413: Code.PAYLOAD_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    417: Code.EXPECTATION_FAILED,
}


def problem_response(error: ApiError, request_id: str) -> web.Response:
    """The problem document, with the headers that its status calls for."""
    headers = dict(error.headers)
    if error.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if error.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    if error.status == 409 and error.code is not Code.TURN_IN_PROGRESS:
        headers["x-should-retry"] = "false"
    if error.code is Code.BUDGET_EXCEEDED:
        # SDKs would repeat it at once: a day is too long for them to wait.
        headers["x-should-retry"] = "false"
    return web.Response(
        body=orjson.dumps(error.problem(request_id) | traced()),
        status=error.status,
        headers=headers,
        content_type="application/problem+json",
    )


def traced() -> dict[str, str]:
    """The member of a problem document that names the trace."""
    return {} if (found := trace_id()) is None else {"traceId": found}


def api_error_of(error: Exception) -> ApiError:
    """The error that a client is shown for an exception. An unexpected exception becomes `internal_error`."""
    if isinstance(error, ApiError):
        return error
    return _http_error(error) if isinstance(error, web.HTTPException) else ApiError(Code.INTERNAL_ERROR)


def _http_error(error: web.HTTPException) -> ApiError:
    """aiohttp's own refusals as codes of the API."""
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        detail = f"The method is not allowed here. Allowed are {allowed}." if allowed else None
        return ApiError(Code.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
    if error.status == 404:
        return ApiError(Code.NOT_FOUND, "There is no such path. /api/v1/openapi.json lists all paths.")
    return ApiError(_CODES.get(error.status, Code.INVALID_REQUEST if error.status < 500 else Code.INTERNAL_ERROR))
