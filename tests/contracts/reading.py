"""Reads recorded messages with the decoders of the tree that it runs in.

Tests import it; `python reading.py < messages.json` also runs it in the tree of an earlier release, so it uses what
that one has, and prints one line for each message that it cannot read.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from shared.contracts.frames import decode
from shared.outbox import OUTBOX, OutboxEntry
from shared.run_log.keys import frame_of
from shared.turn_queue.queue import decode_job

REF: Final = "#/$defs/"
KINDS: Final = {"boolean": bool, "integer": int, "string": str, "null": type(None)}


class Row(NamedTuple):
    """A call of history: a path of the form of aiohttp's routes, and its two bodies (`bodies.py`).

    None: there is no body, or one that is no JSON.
    """

    method: str
    path: str
    request: dict[str, Any] | None = None
    reply: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def row_of(call: dict[str, Any], rows: Iterable[Row]) -> Row | None:
    """The row of a recorded call."""
    for row in rows:
        pattern = re.sub(r"\{[a-z_]+\}", "[^/]+", row.path)
        if row.method == call["method"] and re.fullmatch(pattern, call["path"]):
            return row
    return None


def read_call(call: dict[str, Any], row: Row) -> Iterator[tuple[Any, Any]]:
    """(what was sent, what this tree's models make of it). Raises ValueError."""
    if row.request is not None:
        yield from _read_body(row.request, call["body"])
    if row.reply is not None and call["status"] < 300:
        yield from _read_body(row.reply, call["reply"])


def _read_body(body: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    if "$ref" in body:
        yield value, _read(body["$ref"].removeprefix(REF), value)
    elif "anyOf" in body:
        yield from _read_one_of(body["anyOf"], value)
    elif body["type"] == "array":
        for each in value:
            yield from _read_body(body["items"], each)
    elif body["type"] == "object":
        for name, inner in body["properties"].items():
            if name not in value:
                raise ValueError(f"{name} is missing")
            yield from _read_body(inner, value[name])
    elif type(value) is not KINDS[body["type"]]:
        raise ValueError(f"{value!r} is not of type {body['type']}")


def _read_one_of(bodies: list[dict[str, Any]], value: Any) -> Iterator[tuple[Any, Any]]:
    """As the first of them that takes the value."""
    *first, last = bodies
    for body in first:
        try:
            yield from list(_read_body(body, value))
        except ValueError:
            continue
        return
    yield from _read_body(last, value)


def lost(sent: Any, read: Any, place: str = "") -> list[str]:
    """What was sent and is not in what was read, or is something else there. An absent member may have been null."""
    if isinstance(read, BaseModel):
        read = read.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(sent, dict) and isinstance(read, dict):
        return [each for name, value in sent.items() for each in lost(value, read.get(name), f"{place}.{name}")]
    if isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        return [each for one, other in zip(sent, read, strict=True) for each in lost(one, other, f"{place}[]")]
    return [] if sent == read else [f"{place}: {sent!r} is read as {read!r}"]


def read_entry(key: str, value: dict[str, Any]) -> Iterator[Any]:
    """What a key of Redis holds, as its readers see it. Keys that only the queue's scripts read yield nothing."""
    if key.startswith("arq:job:"):
        yield decode_job(value["string"].encode())
    if key.endswith(":snapshots"):
        yield from (_read("turns:ClaimedTurn", json.loads(text)) for text in value["hash"].values())
    if key == OUTBOX:
        yield from (OutboxEntry.of(_raw(fields)).finished_turn() for _, fields in value["stream"])
    if key.startswith("turn:"):
        yield from (frame_of(entry.encode(), _raw(fields)) for entry, fields in value["stream"])


def faults(messages: dict[str, Any]) -> Iterator[str]:
    """`messages`: `calls`, `redis` and `published`, as they are recorded, and the `table` of calls."""
    table = [Row(*row) for row in messages["table"]]
    for call in messages["calls"]:
        row = row_of(call, table)
        try:
            if row is not None:
                list(read_call(call, row))
        except (ValueError, ImportError, AttributeError) as error:
            yield f"{call['caller']}: {call['method']} {call['path']}: {error!r}"
    for row in messages["redis"]:
        try:
            list(read_entry(row["key"], row))
        except Exception as error:  # Each decoder has its own.
            yield f"{row['key']}: {error!r}"
    for channel, text in messages["published"]:
        try:
            if channel.startswith("turn:"):
                decode(text.encode())
        except ValueError as error:
            yield f"{channel}: {error!r}"


def _read(name: str, value: Any) -> Any:
    """`name`: a module of `shared.contracts` or of the tree, and its model."""
    module, _, model = name.partition(":")
    found = importlib.import_module(module if "." in module else f"shared.contracts.{module}")
    return getattr(found, model).model_validate(value)


def _raw(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


if __name__ == "__main__":
    for fault in faults(json.load(sys.stdin)):
        print(fault)
