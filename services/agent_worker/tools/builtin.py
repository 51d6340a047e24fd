"""Tools that need no other server.

The knowledge base, the clock, the session's end, and a form filled from the conversation.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from services.agent_worker.tools.result import ToolFailure
from shared.contracts.sessions import Retrieval, RetrievedPassage
from shared.contracts.tools import BuiltinTool, HttpTool, McpTool

Search = Callable[[str], Awaitable[Retrieval]]
Clock = Callable[[], datetime]

_DESCRIPTIONS: Final = {
    "search_knowledge": (
        "Search the knowledge base. Use it when the passages at hand do not answer the question. If passages have "
        "numbers, write a passage's number in square brackets, such as [1], after each statement that you take from it."
    ),
    "current_time": "The current date and time.",
    "end_session": "End this conversation. Use it only when the user is done; say goodbye in the same answer.",
    "collect": "Store what the user has told you. Call it again with all values when one of them changes.",
}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "search_knowledge": {
        "type": "object",
        "properties": {"query": {"type": "string", "minLength": 1, "description": "What to look for, in full words."}},
        "required": ["query"],
        "additionalProperties": False,
    },
    "current_time": {
        "type": "object",
        "properties": {
            "timezone": {"type": "string", "description": "An IANA name such as Europe/Paris. Default: UTC."}
        },
        "additionalProperties": False,
    },
    "end_session": {"type": "object", "properties": {}, "additionalProperties": False},
}


@dataclass(kw_only=True, slots=True)
class Effects:
    """What a turn's tools do to its session.

    It takes effect when the turn's end is stored, so a lost attempt changes nothing.
    """

    end_session: bool = False
    collected: dict[str, dict[str, Any]] = field(default_factory=dict)


def needs_session(tool: HttpTool | McpTool | BuiltinTool) -> bool:
    return isinstance(tool, BuiltinTool) and tool.builtin in ("end_session", "collect")


def description_of(tool: BuiltinTool) -> str:
    return tool.description or _DESCRIPTIONS[tool.builtin]


def parameters_of(tool: BuiltinTool) -> dict[str, Any]:
    return tool.parameters if tool.parameters is not None else _PARAMETERS[tool.builtin]


async def call_builtin(
    tool: BuiltinTool, arguments: dict[str, Any], effects: Effects, search: Search | None, now: Clock
) -> str:
    """The result's text. Raises ToolFailure."""
    match tool.builtin:
        case "search_knowledge":
            return await _search(search, str(arguments["query"]))
        case "current_time":
            return _time(now(), str(arguments.get("timezone") or "UTC"))
        case "end_session":
            effects.end_session = True
            return "The session ends with this turn."
        case "collect":
            effects.collected[tool.called] = arguments
            return "Stored."


async def _search(search: Search | None, query: str) -> str:
    if search is None:
        raise ToolFailure("This agent has no knowledge base.")
    found = await search(query)
    if not found.passages:
        return "Nothing was found."
    return orjson.dumps([_shown(passage) for passage in found.passages]).decode()


def _shown(passage: RetrievedPassage) -> dict[str, Any]:
    """`number` is what the model cites the passage by."""
    members = {"number": passage.marker, "heading": passage.heading, "page": passage.page}
    known = {name: value for name, value in members.items() if value is not None}
    return {**known, "title": passage.title, "url": passage.url, "text": passage.text}


def _time(now: datetime, timezone: str) -> str:
    local = now.astimezone(_zone(timezone))
    return orjson.dumps({"time": local.isoformat(timespec="seconds"), "weekday": local.strftime("%A")}).decode()


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ToolFailure(f"There is no time zone {name[:100]!r}.") from None
