"""The filters of a list of sessions, from the query of the internal API."""

from typing import Final

from aiohttp import web

from services.history.sessions.filters import MAX_LABELS, VISIBLE, SessionFilters
from shared.contracts.errors import ApiError, Code
from shared.words import words_of

_LATEST_MS = 1 << 47
MAX_QUERY: Final = 200
# A text in a script without spaces has about as many words as characters.
MAX_QUERY_WORDS: Final = 32


def filters_of(request: web.Request) -> SessionFilters:
    """Raises `invalid_request`."""
    query = request.query
    if query.get("status", "active") not in VISIBLE:
        raise ApiError(Code.INVALID_REQUEST, "status must be active or ended.", param="status")
    labels = tuple(query.getall("label", []))
    if len(labels) > MAX_LABELS:
        detail = f"A list can be filtered by at most {MAX_LABELS} pairs of metadata."
        raise ApiError(Code.INVALID_REQUEST, detail, param="metadata")
    return SessionFilters(
        agent_id=query.get("agentId"),
        agent_version=_number(request, "agentVersion"),
        status=query.get("status"),
        labels=labels,
        end_user=query.get("endUser"),
        created_from=_number(request, "createdFrom"),
        created_before=_number(request, "createdBefore"),
    )


def searched_words(request: web.Request, *, is_searched: bool) -> tuple[str, ...]:
    """The different words of `q`; none without it. Raises `invalid_request`."""
    text = request.query.get("q")
    if text is None:
        return ()
    if not is_searched:
        detail = (
            "This server does not search transcripts. Leave q out, or ask its operator for PARLEY_TRANSCRIPT_SEARCH."
        )
        raise ApiError(Code.INVALID_REQUEST, detail, param="q")
    words = tuple(dict.fromkeys(words_of(text[: MAX_QUERY + 1])))
    if not words or len(words) > MAX_QUERY_WORDS or len(text) > MAX_QUERY:
        detail = f"q must have 1 to {MAX_QUERY_WORDS} words, in at most {MAX_QUERY} characters."
        raise ApiError(Code.INVALID_REQUEST, detail, param="q")
    return words


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= _LATEST_MS):
        raise ApiError(Code.INVALID_REQUEST, f"{name} must be a number.", param=name)
    return int(text)
