"""Success in the API's envelope."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from shared.contracts.errors import ApiError
from shared.web.bodies import json_response


def data_response(data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return json_response({"success": True, "data": data}, status=status, headers=headers)


def page_response(page: dict[str, Any]) -> web.Response:
    """A page of history's, in the envelope."""
    return json_response({"success": True, "data": page["items"], "pagination": {"nextCursor": page.get("nextCursor")}})


def failed_turn(data: dict[str, Any]) -> ApiError:
    """The refusal that a waiting request gets for a turn that failed: the turn's own problem, with `turnId`.

    SDKs repeat every 5xx; a turn that would only fail again says that it should not be.
    """
    error = ApiError.from_problem(data)
    if not error.retryable:
        error.headers["x-should-retry"] = "false"
    return error
