"""Pure: a turn's messages as output items."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from services.gateway.faces.responses.ids import item_id
from shared.contracts.companions import companions_of
from shared.contracts.turns import Turn

Item = dict[str, Any]
Wire = dict[str, Any]

FUNCTION_CALL: Final = "fc"
MESSAGE: Final = "msg"
SEARCH: Final = "fs"


def output_items(
    turn: Turn, messages: Sequence[Wire], finish: str | None, *, shows_results: bool = False
) -> list[Item]:
    """The items of a turn's answer, from its messages in the public API's shape.

    The agent's own calls and their results are not shown: clients would try to run them. The searches of its knowledge
    are, each before the message that was written after it.
    """
    entries = enumerate(_entries(messages, finish, shows_results=shows_results))
    return [make(item_id(prefix, turn.id, turn.attempt, place)) for place, (prefix, make) in entries]


def _entries(
    messages: Sequence[Wire], finish: str | None, *, shows_results: bool
) -> Iterator[tuple[str, Callable[[str], Item]]]:
    """Of each item the prefix of its id, and what makes it from its id."""
    for message in messages:
        if message["role"] != "assistant":
            continue
        for retrieval in message.get("knowledge") or ():
            yield SEARCH, partial(search_item, retrieval=retrieval, shows_results=shows_results)
        if message.get("content"):
            yield MESSAGE, partial(message_item, message=message)
    for call in caller_calls(messages, finish):
        yield FUNCTION_CALL, partial(call_item, call=call)


def caller_calls(messages: Sequence[Wire], finish: str | None) -> Sequence[Wire]:
    """The calls of the caller's tools that the turn ended with."""
    if finish != "tool_calls":
        return ()
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), {})
    return last.get("toolCalls") or ()


def message_item(item: str, message: Wire) -> Item:
    status = "incomplete" if message.get("status") == "partial" else "completed"
    return {**opened_message(item, status), "content": [text_part(message["content"], annotations_of(message))]}


def opened_message(item: str, status: str = "in_progress") -> Item:
    return {"id": item, "type": "message", "status": status, "role": "assistant", "content": []}


def text_part(text: str, annotations: Sequence[Wire] = ()) -> Wire:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def annotations_of(message: Wire) -> list[Wire]:
    """The citations of a message. A passage with an address is a `url_citation`, one of a file a `file_citation`."""
    return [_annotation(citation) for citation in message.get("citations") or ()]


def _annotation(citation: Wire) -> Wire:
    passage = citation["passage"]
    title = " > ".join(name for name in (passage["title"], passage.get("heading")) if name)
    if url := passage.get("url"):
        place = {"start_index": citation["start"], "end_index": citation["end"]}
        return {"type": "url_citation", **place, "url": url, "title": title}
    return {"type": "file_citation", "file_id": passage["sourceId"], "filename": title, "index": citation["start"]}


def search_item(item: str, retrieval: Wire, status: str = "completed", *, shows_results: bool = False) -> Item:
    results = [_result(passage) for passage in retrieval.get("passages") or ()] if shows_results else None
    shown = {"queries": [retrieval["query"]], "results": results}
    return {"id": item, "type": "file_search_call", "status": status, **shown}


def _result(passage: Wire) -> Wire:
    shown = {"filename": passage["title"], "score": min(1.0, max(0.0, passage["score"])), "text": passage["text"]}
    return {"file_id": passage["sourceId"], **shown, "attributes": {}}


def call_item(item: str, call: Wire, status: str = "completed") -> Item:
    """With the opaque members that its model wants back, where the caller keeps the conversation itself."""
    named = {"call_id": call["id"], "name": call["name"], "arguments": call["arguments"]}
    return {**companions_of(call.get("companions")), "id": item, "type": "function_call", "status": status, **named}
