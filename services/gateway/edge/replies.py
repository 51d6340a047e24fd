"""Successful responses in the API's envelope."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from shared.web.bodies import json_response


def data_response(data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return json_response({"success": True, "data": data}, status=status, headers=headers)


def page_response(page: dict[str, Any], beside: Mapping[str, Any] | None = None) -> web.Response:
    """A page as history sent it, in the envelope. `beside`: further members of the envelope."""
    pagination = {"nextCursor": page.get("nextCursor")}
    return json_response({"success": True, "data": page["items"], "pagination": pagination, **(beside or {})})
