"""Gaps of an agent's knowledge over HTTP."""

from typing import Final

from aiohttp import web

from services.history.api.nouns import nouns
from services.history.api.paths import AGENT, path_id, workspace_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.gaps import GapReason
from shared.web.bodies import json_response

DEFAULT_DAYS: Final = 7
MAX_DAYS: Final = 90


async def get_gaps(request: web.Request) -> web.Response:
    workspace, agent_id = workspace_of(request), path_id(request, "agent_id")
    days = _days(request.query.get("days", str(DEFAULT_DAYS)))
    await nouns(request).drafts.get(workspace, agent_id)  # Raises `agent_not_found`.
    reason = _reason(request.query.get("reason", "nothing_found"))
    return json_response((await nouns(request).gaps.since(workspace, agent_id, days, reason)).wire())


def _reason(text: str) -> GapReason | None:
    match text:
        case "nothing_found" | "nothing_cited":
            return text
        case "any":
            return None
    raise ApiError(Code.INVALID_REQUEST, "reason must be nothing_found, nothing_cited or any.", param="reason")


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= MAX_DAYS):
        raise ApiError(Code.INVALID_REQUEST, f"days must be a number from 1 to {MAX_DAYS}.", param="days")
    return int(text)


ROUTES: Final = (web.get(AGENT + "/knowledge/gaps", get_gaps),)
