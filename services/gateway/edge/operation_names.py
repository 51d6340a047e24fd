"""Pure: the operation id and the tag of a route, from its method and path. Generated clients name functions by them.

`GET /chat/sessions/{sessionId}/messages` is `listSessionMessages`, `POST /agents/{agentId}/publish` is `publishAgent`.
"""

import re
from typing import Any, Final

from services.gateway.edge.route import Route

# Where the rule finds no good verb. An id is a promise: it stays when the rule changes.
_SAID_OTHERWISE: Final = {
    ("POST", "/chat/sessions/{sessionId}/messages"): "postMessage",
    ("GET", "/chat/sessions/{sessionId}/turns/{turnId}"): "getTurn",
    ("GET", "/chat/sessions/{sessionId}/turns/{turnId}/events"): "followTurn",
    ("POST", "/chat/sessions/{sessionId}/turns/{turnId}/cancel"): "cancelTurn",
    ("POST", "/chat/sessions/{sessionId}/turns/{turnId}/regenerate"): "regenerateTurn",
    ("GET", "/chat/sessions/{sessionId}/events"): "followSession",
    ("POST", "/chat/sessions/{sessionId}/messages/{messageId}/feedback"): "rateAnswer",
    ("POST", "/chat/widget/token"): "renewVisitorToken",
    ("POST", "/chat/widget/earlier/{earlierId}/token"): "openEarlierVisit",
    ("GET", "/chat/widget/sessions"): "listVisits",
    ("POST", "/chat/widget/sessions"): "startVisit",
    ("POST", "/agents/{agentId}/ui/chat"): "runUiChat",
    ("GET", "/agents/{agentId}/ui/chat/{chatId}/stream"): "resumeUiChat",
    ("POST", "/agents/{agentId}/ui/chat/{chatId}/stop"): "stopUiChat",
    ("GET", "/agents/{agentId}/ui/chat/{chatId}/messages"): "listUiMessages",
    ("POST", "/agents/{agentId}/agui"): "runAguiChat",
    ("POST", "/agents/{agentId}/agui/{chatId}/stop"): "stopAguiChat",
    ("GET", "/agents/{agentId}/agui/{chatId}/messages"): "listAguiMessages",
    ("POST", "/mcp"): "callMcp",
    ("GET", "/mcp"): "listenToMcp",
    ("GET", "/openapi.json"): "getOpenapiDocument",
    ("GET", "/schemas/agent.json"): "getAgentSchema",
    ("GET", "/agents/{agentId}/versions/{version}/diff"): "compareAgentVersions",
}
_VERBS: Final = {"PATCH": "change", "PUT": "put", "DELETE": "delete"}
# A path that ends with one of these does something to what it names.
_ACTIONS: Final = frozenset(
    {"cancel", "end", "export", "preview", "publish", "regenerate", "retry", "rollback", "rotate", "run"}
)
# In the order in which a reader needs them. The names are headings of the reference.
TAGS: Final = {
    "Sessions": "Conversations with an agent: messages, turns and their streams",
    "OpenAI": "OpenAI-compatible routes: completions, responses and models",
    "Agents": "Agents, their drafts and versions",
    "Knowledge": "What an agent knows: sources, previews and gaps",
    "Keys": "Secret keys",
    "Webhooks": "Webhooks: who is told what has happened",
    "Usage": "Usage and budgets",
    "Checks": "Tests of an agent",
    "Widget": "The widget: its look, its keys, its visitors",
    "Privacy": "The audit trail, and what is known of end users",
    "Protocols": "Other protocols, which chat kits, agents and tools speak already",
    "Documents": "This document and schemas",
}
# The first of these words in a path decides.
_TAG_OF: Final = {
    "a2a": "Protocols",
    "agui": "Protocols",
    "ui": "Protocols",
    "keys": "Keys",
    "openapi.json": "Documents",
    "schemas": "Documents",
    "widget": "Widget",
    "publishable-keys": "Widget",
    "knowledge": "Knowledge",
    "checks": "Checks",
    "sessions": "Sessions",
    "feedback": "Sessions",
    "agents": "Agents",
    "usage": "Usage",
    "budgets": "Usage",
    "webhooks": "Webhooks",
    "audit": "Privacy",
    "end-users": "Privacy",
    "end-user-erasures": "Privacy",
}


def operation_id(route: Route[Any]) -> str:
    said = route.operation or _SAID_OTHERWISE.get((route.method, route.path))
    if said is not None:
        return said
    words = [word for word in route.path.split("/") if word and word != "chat"]
    if words[-1] in _ACTIONS:
        return words[-1] + _joined(words[:-1])
    return _verb(route, words[-1]) + _joined(words, makes_one=route.method == "POST")


def reading_order(route: Route[Any]) -> tuple[int, int]:
    """By tags, and of one tag the shortest paths first: what there is before what can be done with one of it."""
    return list(TAGS).index(tag_of(route)), route.path.count("/")


def tag_of(route: Route[Any]) -> str:
    if route.openai:
        return "OpenAI"
    words = route.path.split("/")
    return next((tag for word, tag in _TAG_OF.items() if word in words), "Protocols")


def _verb(route: Route[Any], last: str) -> str:
    if route.method == "GET":
        is_list = (route.openai and not _is_param(last)) or any(reply.paged for reply in route.replies.get(200, ()))
        return "list" if is_list else "get"
    if route.method == "POST":
        return "change" if _is_param(last) else "create"
    return _VERBS[route.method]


def _is_param(word: str) -> bool:
    return word.startswith("{")


def _joined(words: list[str], *, makes_one: bool = False) -> str:
    """The nouns of a path. One before a parameter names one thing, and so does one that a POST makes."""
    following = [*words[1:], "{}" if makes_one else ""]
    nouns = [noun.removesuffix("s") if _is_param(after) else noun for noun, after in zip(words, following, strict=True)]
    parts = [part for noun in nouns if not _is_param(noun) for part in re.split(r"[\W_]+", noun)]
    return "".join(part.capitalize() for part in parts)
