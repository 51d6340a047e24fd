"""Pure: the arguments of a tool call, from the pieces of text that a server sent for it."""

import json
from typing import Any, Final

_DECODER: Final = json.JSONDecoder()
# How many pieces from the end are tried as the start of arguments that a server sent again and again.
_TRIED: Final = 64


def arguments_of(pieces: list[str]) -> list[str]:
    """The arguments of each call that the pieces hold, as JSON text: usually one.

    Nothing means `{}`. `{}` before the real arguments is a placeholder, and the same object again is a repetition; two
    different objects are two calls. What cannot be read as an object stays as it is: the tool's validation tells the
    model.
    """
    joined = "".join(pieces).strip()
    if joined in ("", "null", '""'):
        return ["{}"]
    whole = _loaded(joined)
    if isinstance(whole, dict):
        return [joined]
    if isinstance(whole, str) and isinstance(_loaded(whole), dict):
        return [whole]  # JSON in JSON.
    objects, rest = _objects(joined)
    if not objects:
        return [_sent_again(pieces) or joined]
    distinct = list(dict.fromkeys(objects))
    if len(distinct) > 1:
        distinct = [text for text in distinct if text.replace(" ", "") != "{}"]
    return [*distinct, rest] if rest.startswith("{") else distinct


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(text: str) -> tuple[list[str], str]:
    """The JSON objects that stand one behind the other, and what follows the last of them."""
    found: list[str] = []
    at = 0
    while at < len(text) and text[at] == "{":
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        found.append(text[at:end])
        at = end
        while at < len(text) and text[at].isspace():
            at += 1
    return found, text[at:]


def _sent_again(pieces: list[str]) -> str | None:
    """The last piece, or the pieces from the last start: some servers send all arguments so far with each piece."""
    for start in range(len(pieces) - 1, max(-1, len(pieces) - 1 - _TRIED), -1):
        if pieces[start].lstrip().startswith("{"):
            text = "".join(pieces[start:]).strip()
            if isinstance(_loaded(text), dict):
                return text
    return None
