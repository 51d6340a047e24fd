"""Pure: makes any history one that the chat templates of models accept. Messages are dictionaries in OpenAI's shape.

The rules come from the templates of Mistral, Qwen and Gemma and from the Messages API of Anthropic. They are written
down a second time, as a checker, in `tests/unit/agent_worker/turns/template_rules.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from services.agent_worker.settings import PromptMode
from services.agent_worker.turns.paired_calls import PromptMessage, paired
from shared.tokens import message_tokens

NO_OUTPUT: Final = "(no output)"
OPENING: Final = "(The conversation starts.)"
NO_ANSWER: Final = "(No answer was given.)"
CONTINUE: Final = "Continue."
_JOINT: Final = "\n\n"
# The share of the tokens that stays when a prompt was too long. The upstream's limit is unknown and one retry must be
# enough.
KEPT_SHARE: Final = 0.5


def valid(messages: Iterable[PromptMessage], mode: PromptMode = "strict") -> list[PromptMessage]:
    """The conversation as an upstream demands it. The given messages are not changed; a valid conversation comes back
    as it is.

    `as_is`: what every server demands, that each tool call has one result right behind it and that no assistant
    message is empty. `alternate`: also one leading system message, and user and assistant in turn, the user first.
    `strict`: also a user message or a tool result at the end, and tool call ids that occur once.
    """
    spoken = [message for message in messages if not is_empty(message)]
    if mode == "as_is":
        return paired(spoken, unique=False)
    # A late system message moves to the head before the calls are paired, so it cannot stand between a call and its
    # result.
    head = [message for message in spoken if message["role"] == "system"]
    body = [message for message in spoken if message["role"] != "system" and not _is_blank_question(message)]
    alternating = _alternating(paired(body, unique=mode == "strict"))
    if mode == "strict":
        alternating = _strict(alternating)
    return _leading(head) + alternating


def _is_blank(content: Any) -> bool:
    return content is None or (isinstance(content, str) and not content.strip()) or content == []


def is_empty(message: PromptMessage) -> bool:
    """An assistant message without text and calls is refused by many servers; it comes from a model that answered
    nothing.
    """
    return (
        message["role"] in ("assistant", "system")
        and not message.get("tool_calls")
        and _is_blank(message.get("content"))
    )


def _is_blank_question(message: PromptMessage) -> bool:
    return message["role"] == "user" and _is_blank(message.get("content"))


# --- alternation


def _leading(head: Sequence[PromptMessage]) -> list[PromptMessage]:
    if len(head) < 2:
        return list(head)
    content: Any = head[0]["content"]
    for message in head[1:]:
        content = _joined(content, message["content"])
    return [{"role": "system", "content": content}]


def _alternating(messages: Iterable[PromptMessage]) -> list[PromptMessage]:
    """User and assistant in turn, the user first. A call with its results belongs to the assistant's side."""
    sent: list[PromptMessage] = []
    for message in messages:
        role, last = message["role"], sent[-1]["role"] if sent else None
        if role == "assistant" and last is None:
            sent.append(_user(OPENING))
        elif role == "user" and last == "tool":
            # The templates of Mistral refuse a user message behind a tool result: an assistant's text must stand
            # between.
            sent.append(missing_answer())
        elif role == last and role != "tool":
            message = _merged(sent.pop(), message)
        sent.append(message)
    return sent or [_user(OPENING)]


def missing_answer() -> PromptMessage:
    return {"role": "assistant", "content": NO_ANSWER}


def _user(text: str) -> PromptMessage:
    return {"role": "user", "content": text}


def _merged(one: PromptMessage, other: PromptMessage) -> PromptMessage:
    """Two neighbours of one role as one message. Other members are kept, except a name that is not the name of both."""
    merged = {**one, **other, "content": _joined(one.get("content"), other.get("content"))}
    if one.get("name") != other.get("name"):
        merged.pop("name", None)
    return merged


def _joined(one: Any, other: Any) -> Any:
    """Contents are text, or lists of parts."""
    if _is_blank(one) or _is_blank(other):
        return one if _is_blank(other) else other
    if isinstance(one, str) and isinstance(other, str):
        return one + _JOINT + other
    return [*_parts(one), *_parts(other)]


def _parts(content: Any) -> Iterator[Any]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    else:
        yield from content


def _strict(messages: list[PromptMessage]) -> list[PromptMessage]:
    sent = [
        {**message, "content": NO_OUTPUT}
        if message["role"] == "tool" and _is_blank(message.get("content"))
        else message
        for message in messages
    ]
    if sent[-1]["role"] == "assistant":
        sent.append(_user(CONTINUE))
    return sent


# --- a prompt that was too long


def shrunk(messages: Sequence[PromptMessage], kept_share: float = KEPT_SHARE) -> list[PromptMessage] | None:
    """The conversation without its oldest turns, for another try after an upstream said that the prompt is too long.

    The system messages at the head and the last user message with all that follows stay. Of the other turns stay the
    newest that fit into `kept_share` of the tokens. None when there is no turn to drop.
    """
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    turns = _turns(messages[first:])
    if len(turns) < 2:
        return None
    sizes = [sum(map(prompt_tokens, turn)) for turn in turns]
    room = sum(sizes) * kept_share - sizes[-1]
    start = len(turns) - 1
    while start > 0 and (room := room - sizes[start - 1]) >= 0:
        start -= 1
    return [*messages[:first], *(message for turn in turns[start:] for message in turn)]


def _turns(messages: Sequence[PromptMessage]) -> list[list[PromptMessage]]:
    turns: list[list[PromptMessage]] = []
    for message in messages:
        if message["role"] == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def prompt_tokens(message: PromptMessage, factor: float = 1.0) -> int:
    """An estimate of what the message costs."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [str(part.get("text", "")) for part in content or ()]
    for call in message.get("tool_calls") or ():
        texts += (call["function"]["name"], call["function"]["arguments"])
    return message_tokens(texts, factor)
