"""The rules of chat templates, as their authors wrote them: an independent check of `turns/conversation.py`.

Each function gives back the first complaint, or None. The sources are the templates and validators that refuse prompts
in practice: Mistral's chat templates and request validation, Anthropic's Messages API, the templates of Qwen 3.5 and
Gemma 3.
"""

import itertools
from typing import Any

Messages = list[dict[str, Any]]


def mistral(messages: Messages, *, finished: bool = True) -> str | None:
    body = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if any(message["role"] not in ("user", "assistant", "tool") for message in body):
        return "Only user, assistant and tool roles are supported after the optional system message"
    if not body or body[0]["role"] != "user":
        return "Expected the first role to be user"
    return _mistral_turns(body) or _mistral_tools(body) or _mistral_end(body, finished)


def _mistral_turns(body: Messages) -> str | None:
    counted = 0
    for message in body:
        if message["role"] == "tool" or message.get("tool_calls"):
            continue
        if (message["role"] == "user") != (counted % 2 == 0):
            return "After the optional system message, conversation roles must alternate user/assistant"
        counted += 1
    return None


def _mistral_tools(body: Messages) -> str | None:
    expected: list[str] = []
    for position, message in enumerate(body):
        if message["role"] == "tool":
            if not expected:
                return "Not the same number of function calls and responses"
            if expected.pop(0) != message["tool_call_id"]:
                return "A tool message answers another call"
            continue
        if expected:
            return "Not the same number of function calls and responses"
        if message["role"] == "user" and position and body[position - 1]["role"] == "tool":
            return "Unexpected role 'user' after role 'tool'"
        if message["role"] == "assistant" and not (message.get("content") or message.get("tool_calls")):
            return "Assistant message must have either content or tool_calls, but not none"
        expected = [call["id"] for call in message.get("tool_calls") or ()]
    return "Not the same number of function calls and responses" if expected else None


def _mistral_end(body: Messages, finished: bool) -> str | None:
    if finished and body[-1]["role"] not in ("user", "tool"):
        return "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
    return None


def anthropic(messages: Messages, *, finished: bool = True) -> str | None:
    """Tool results become blocks of one user message, as every adapter makes them."""
    body = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if any(message["role"] == "system" for message in body):
        return "unexpected role system"
    sides = ["user" if message["role"] == "tool" else message["role"] for message in body]
    if not sides or sides[0] != "user":
        return "the first message must be a user message"
    for before, after in itertools.pairwise(body):
        same = ("user" if before["role"] == "tool" else before["role"]) == (
            "user" if after["role"] == "tool" else after["role"]
        )
        if same and not before["role"] == after["role"] == "tool":
            return "roles must alternate between user and assistant"
    if finished and sides[-1] == "assistant":
        return "this model does not support assistant message prefill"
    return _anthropic_texts(body, finished) or _anthropic_tools(body, finished)


def _anthropic_texts(body: Messages, finished: bool) -> str | None:
    for message in body:
        content = message.get("content")
        if message["role"] == "tool" and not finished:
            continue
        if isinstance(content, str) and not content.strip() and not message.get("tool_calls"):
            return "text content blocks must contain non-whitespace text"
        if content is None and not message.get("tool_calls"):
            return "all messages must have non-empty content"
    return None


def _anthropic_tools(body: Messages, finished: bool) -> str | None:
    seen: set[str] = set()
    position = 0
    while position < len(body):
        uses = [call["id"] for call in body[position].get("tool_calls") or ()]
        if finished and (len(set(uses)) < len(uses) or seen & set(uses)):
            return "`tool_use` ids must be unique"
        seen |= set(uses)
        results = []
        position += 1
        while position < len(body) and body[position]["role"] == "tool":
            results.append(body[position]["tool_call_id"])
            position += 1
        if sorted(results) != sorted(uses):
            return "`tool_use` ids were found without `tool_result` blocks immediately after, or the reverse"
    return None


def qwen_and_gemma(messages: Messages, *, finished: bool = True) -> str | None:
    del finished
    if any(message["role"] == "system" for message in messages[1:]):
        return "System message must be at the beginning."
    if not any(message["role"] == "user" for message in messages):
        return "No user query found in messages."
    body = messages[1:] if messages[0]["role"] == "system" else messages
    if any(message["role"] == "tool" for message in body):
        return None  # Gemma 3 knows no tools; Qwen asks no more.
    if any((message["role"] == "user") != (position % 2 == 0) for position, message in enumerate(body)):
        return "Conversation roles must alternate user/assistant/user/assistant/..."
    return None


ALL = (mistral, anthropic, qwen_and_gemma)


def complaint(messages: Messages, *, finished: bool = True) -> str | None:
    """`finished`: also the rules about the end of the conversation and about repeated ids (mode `strict`)."""
    for rules in ALL:
        if (found := rules(messages, finished=finished)) is not None:
            return f"{rules.__name__}: {found}"
    return None
