"""The filters of lists of sessions: parameters, their checks, and the form in which history takes them."""

import re
from datetime import UTC, datetime
from typing import Final

import orjson
from aiohttp import web
from multidict import MultiMapping

from services.gateway.edge.route import Param
from services.gateway.edge.validation import refused
from shared.ids import is_id

MAX_LABELS: Final = 16
MAX_END_USER: Final = 256
MAX_QUERY: Final = 200
_STATUSES: Final = ("active", "ended")
_LABEL: Final = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_TIME: Final = {"type": "string", "format": "date-time"}

FILTERS: Final = (
    Param(
        "q",
        {"type": "string", "minLength": 1, "maxLength": MAX_QUERY},
        "only sessions with a turn in which user and agent said all of these words. Whole words, without regard to case"
        " and accents. A page may then have fewer sessions than `limit`, or none, and a `nextCursor`. Refused with"
        " `invalid_request` where the operator has switched the search off",
    ),
    Param("agentId", {"type": "string"}, "only this agent's"),
    Param("agentVersion", {"type": "integer", "minimum": 0}, "only this version's; 0 is the draft. Needs `agentId`"),
    Param("status", {"enum": list(_STATUSES)}, "only these"),
    Param(
        "metadata",
        {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": MAX_LABELS},
        "`metadata[key]=value`, any number of pairs: only sessions that have all of them",
        style="deepObject",
    ),
    Param("endUser", {"type": "string", "minLength": 1, "maxLength": MAX_END_USER}, "only this end user's, by `id`"),
    Param("createdFrom", _TIME, "only sessions created at this time or later (RFC 3339)"),
    Param("createdBefore", _TIME, "only sessions created before this time (RFC 3339)"),
)


def filters_of(request: web.Request) -> list[tuple[str, str]]:
    """Raises `invalid_request`."""
    query = request.query
    found = [*_agent(query), *_labels(query), *_times(query)]
    if (status := query.get("status")) is not None:
        if status not in _STATUSES:
            raise refused("status", f"must be one of {', '.join(_STATUSES)}")
        found.append(("status", status))
    if (searched := query.get("q")) is not None:
        if not 1 <= len(searched) <= MAX_QUERY:
            raise refused("q", f"must have 1 to {MAX_QUERY} characters")
        found.append(("q", searched))
    if (end_user := query.get("endUser")) is not None:
        if not 1 <= len(end_user) <= MAX_END_USER:
            raise refused("endUser", f"must have 1 to {MAX_END_USER} characters")
        found.append(("endUser", end_user))
    return found


def _agent(query: MultiMapping[str]) -> list[tuple[str, str]]:
    agent_id, version = query.get("agentId"), query.get("agentVersion")
    if agent_id is not None and not is_id("agt", agent_id):
        raise refused("agentId", "is not the id of an agent")
    if version is not None and (_VERSION.fullmatch(version) is None or agent_id is None):
        raise refused("agentVersion", "must be the number of a version, beside agentId")
    given = (("agentId", agent_id), ("agentVersion", version))
    return [(name, value) for name, value in given if value is not None]


def _labels(query: MultiMapping[str]) -> list[tuple[str, str]]:
    labels = [(match[1], value) for name, value in query.items() if (match := _LABEL.fullmatch(name))]
    if len(labels) > MAX_LABELS:
        raise refused("metadata", f"may have at most {MAX_LABELS} pairs")
    return [("label", orjson.dumps(label).decode()) for label in labels]


def _times(query: MultiMapping[str]) -> list[tuple[str, str]]:
    names = [name for name in ("createdFrom", "createdBefore") if name in query]
    return [(name, str(_milliseconds(name, query[name]))) for name in names]


def _milliseconds(name: str, text: str) -> int:
    try:
        # A `+` in a query means a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1970 <= moment.year < 9000:
        raise refused(name, "must be a time with its offset, such as 2026-01-31T09:00:00Z")
    return max(0, int(moment.astimezone(UTC).timestamp() * 1000))
