"""Pure: the caller's input items as messages of a turn."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from services.gateway.edge.validation import refused
from shared.contracts.companions import CALL_MEMBERS, companions_text
from shared.contracts.sessions import ToolCall, TurnMessage
from shared.ids import new_id

MAX_CALL_ID: Final = 4096
MAX_FUNCTION_NAME: Final = 200
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# The member that holds the text of a part.
_TEXT_PARTS: Final = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
# Items of an earlier answer that a client sends back. They say nothing to the model that the messages do not say.
_PASSED_OVER: Final = ("reasoning", "file_search_call")


class Reader(NamedTuple):
    """What becomes of items: the messages, and the calls that they have made so far."""

    messages: list[TurnMessage]
    called: set[str]
    now: datetime


def turn_messages(
    sent: str | Sequence[dict[str, Any]], now: datetime, *, goes_on: bool = False
) -> tuple[TurnMessage, ...]:
    """The messages of an `input`. Raises `invalid_request` with the member at fault as `param`.

    `goes_on`: earlier turns of the conversation may have made the calls whose outputs are sent.
    """
    if isinstance(sent, str):
        return (_message(now, role="user", content=sent),)
    reader = Reader([], set(), now)
    for index, item in enumerate(sent):
        _read(reader, item, f"input[{index}]", goes_on=goes_on)
    return tuple(reader.messages)


def _read(reader: Reader, item: dict[str, Any], at: str, *, goes_on: bool) -> None:
    match kind := item.get("type", "message"):
        case "message":
            reader.messages.append(_said(item, at, reader.now))
        case "function_call":
            _add_call(reader, _call(item, at))
        case "function_call_output":
            reader.messages.append(_output(reader, item, at, goes_on=goes_on))
        case _ if kind not in _PASSED_OVER:
            raise refused(f"{at}.type", "must be message, function_call or function_call_output")


def _message(now: datetime, **members: Any) -> TurnMessage:
    return TurnMessage(id=new_id("msg"), created_at=now, **members)


def _said(item: dict[str, Any], at: str, now: datetime) -> TurnMessage:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise refused(f"{at}.role", "must be user, assistant, system or developer")
    return _message(now, role=_ROLES[role], content=_text(item.get("content"), f"{at}.content"))


def _text(content: Any, at: str) -> str:
    """A string, or a list of text parts, as one string."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise refused(at, "must be a string or a list of text parts")
    return "\n".join(_part(part, f"{at}[{index}]") for index, part in enumerate(content))


def _part(part: Any, at: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
        raise refused(f"{at}.type", "must be input_text or output_text: agents read text only")
    text = part.get(_TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise refused(f"{at}.{_TEXT_PARTS[kind]}", "must be a string")
    return text


def _call(item: dict[str, Any], at: str) -> ToolCall:
    name, arguments = item.get("name"), item.get("arguments")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_FUNCTION_NAME:
        raise refused(f"{at}.name", f"must be a string of 1 to {MAX_FUNCTION_NAME} characters")
    if not isinstance(arguments, str):
        raise refused(f"{at}.arguments", "must be a string")
    companions = {member: item[member] for member in CALL_MEMBERS if item.get(member) is not None}
    return ToolCall(
        id=_call_id(item, at), name=name, arguments=arguments, companions=companions_text(companions) or None
    )


def _call_id(item: dict[str, Any], at: str) -> str:
    call_id = item.get("call_id")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= MAX_CALL_ID:
        raise refused(f"{at}.call_id", f"must be a string of 1 to {MAX_CALL_ID} characters")
    return call_id


def _add_call(reader: Reader, call: ToolCall) -> None:
    """Calls and the text before them are items of their own here, and one message of the model's."""
    reader.called.add(call.id)
    last = reader.messages[-1] if reader.messages else None
    if last is None or last.role != "assistant":
        reader.messages.append(_message(reader.now, role="assistant", content=None, tool_calls=(call,)))
    else:
        reader.messages[-1] = last.model_copy(update={"tool_calls": (*(last.tool_calls or ()), call)})


def _output(reader: Reader, item: dict[str, Any], at: str, *, goes_on: bool) -> TurnMessage:
    call_id = _call_id(item, at)
    if call_id not in reader.called and not goes_on:
        raise refused(f"{at}.call_id", "must be the id of a function_call before it")
    return _message(reader.now, role="tool", content=_text(item.get("output"), f"{at}.output"), tool_call_id=call_id)
