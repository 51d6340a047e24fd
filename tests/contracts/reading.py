"""Reads recorded messages with the decoders of the tree that it runs in.

Tests import it; `python reading.py < messages.json` also runs it in the tree of an earlier release, so it uses what
that one has, and prints one line for each message that it cannot read.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from shared.contracts.frames import decode
from shared.outbox import OUTBOX, OutboxEntry
from shared.run_log.keys import frame_of
from shared.turn_queue.queue import decode_job


class Row(NamedTuple):
    """A call of history: the models of its two bodies. `page`: the reply's `items` are the model's, `list`: all is."""

    method: str
    path: str
    request: str = ""
    reply: str = ""
    form: str = ""


_W: Final = "/workspaces/[^/]+"
_DRAFT: Final = f"{_W}/drafts/[^/]+"
_TURN: Final = f"{_W}/turns/[^/]+"
CALLS: Final = (
    Row("POST", f"{_W}/turns", "turns:AdmitTurn", "turns:AdmittedTurn"),
    Row("GET", _TURN, "", "turns:StoredTurn"),
    Row("POST", "/turns/states", "", "turns:Turn", "list"),
    Row("POST", f"{_TURN}/claim", "turns:ClaimTurn", "turns:ClaimedTurn"),
    Row("POST", f"{_TURN}/attempts", "turns:StartAttempt", "turns:StartedAttempt"),
    Row("POST", f"{_TURN}/(release|uses|calls)"),
    Row("POST", f"{_TURN}/cancel", "", "turns:Turn"),
    Row("GET", f"{_W}/completions", "", "turns:StoredTurn", "page"),
    Row("POST", f"{_W}/completions/[^/]+", "", "turns:StoredTurn"),
    Row("POST", f"{_W}/sessions", "", "sessions:Session"),
    Row("GET", f"{_W}/sessions", "", "sessions:Session", "page"),
    Row("GET", f"{_W}/sessions/[^/]+", "", "sessions:Session"),
    Row("POST", f"{_W}/sessions/[^/]+/end", "", "sessions:Session"),
    Row("GET", f"{_W}/sessions/[^/]+/messages", "", "sessions:TurnMessage", "page"),
    Row("GET", f"{_W}/sessions/[^/]+/(turns|branch)", "", "session_turns:SessionTurns"),
    Row("POST", "/sessions/states", "", "session_events:SessionState", "list"),
    Row("POST", "/keys", "keys:StoreKey"),
    Row("POST", "/keys/resolve(-id)?", "", "keys:Principal"),
    Row("GET", f"{_W}/keys", "", "key_records:KeyRecord", "page"),
    Row("GET", f"{_W}/keys/[^/]+", "", "key_records:KeyRecord"),
    Row("POST", f"{_W}/keys/[^/]+/rotate", "key_records:RotateKey", "key_records:KeyRecord"),
    Row("PATCH", f"{_W}/keys/[^/]+", "key_records:ChangeKey", "key_records:KeyRecord"),
    Row("GET", f"{_W}/agents/[^/]+/publishable-keys", "", "key_records:PublishableKeyRecord", "page"),
    Row("GET", f"{_W}/agents", "", "agents:Agent", "page"),
    Row("GET", f"{_W}/agents/[^/]+", "", "agents:Agent"),
    Row("GET", f"{_W}/resolved-model"),
    Row("GET", f"{_W}/agents/[^/]+/versions/[^/]+", "", "agents:AgentVersion"),
    Row("GET", f"{_W}/agents/[^/]+/versions/[^/]+/passages", "", "agents:Passage", "list"),
    Row("GET", f"{_W}/agents/[^/]+/knowledge/gaps", "", "gaps:KnowledgeGaps"),
    Row("POST", f"{_W}/drafts", "agent_records:NewAgent", "agent_records:AgentRecord"),
    Row("GET", f"{_W}/drafts", "", "agent_records:AgentRecord", "page"),
    Row("GET", _DRAFT, "", "agent_records:AgentRecord"),
    Row("PATCH", _DRAFT, "agent_records:DraftPatch", "agent_records:AgentRecord"),
    Row("POST", f"{_DRAFT}/publish", "agent_records:PublishOrder", "agent_records:VersionRecord"),
    Row("POST", f"{_DRAFT}/rollback", "agent_records:RollbackOrder", "agent_records:VersionRecord"),
    Row("GET", f"{_DRAFT}/versions", "", "agent_records:VersionRecord", "page"),
    Row("GET", f"{_DRAFT}/versions/[^/]+", "", "agent_records:VersionRecord"),
    Row("GET", f"{_DRAFT}/checks", "", "checks:StoredChecks"),
    Row("PUT", f"{_DRAFT}/checks", "checks:PutChecks", "checks:StoredChecks"),
    Row("POST", f"{_DRAFT}/checks/runs", "checks:RunChecks", "checks:CheckRun"),
    Row("GET", f"{_DRAFT}/checks/runs/[^/]+", "", "checks:CheckRun"),
    Row("POST", f"{_DRAFT}/sources", "knowledge:NewSource", "knowledge:Source"),
    Row("GET", f"{_DRAFT}/sources", "", "knowledge:Source", "page"),
    Row("GET", f"{_DRAFT}/sources/[^/]+", "", "knowledge:Source"),
    Row("PATCH", f"{_DRAFT}/sources/[^/]+", "knowledge:SourcePatch", "knowledge:Source"),
    Row("GET", f"{_W}/audit", "", "agent_records:AuditRecord", "page"),
    Row("POST", "/ingest/claims", "", "knowledge:IngestJob"),
    Row("POST", "/ingest/[^/]+/renew", "knowledge:IngestProgress"),
    Row("POST", "/ingest/[^/]+/passages", "knowledge:IngestedPassages"),
    Row("POST", "/ingest/[^/]+/finish", "knowledge:IngestOutcome"),
    Row("GET", f"{_W}/ingest/[^/]+/content"),
    Row("DELETE", "/.*"),
)


def row_of(call: dict[str, Any]) -> Row | None:
    path = call["path"]
    return next((row for row in CALLS if row.method == call["method"] and re.fullmatch(row.path, path)), None)


def read_call(call: dict[str, Any], row: Row) -> Iterator[tuple[Any, Any]]:
    """(what was sent, what this tree's models make of it). Raises ValueError."""
    if row.request:
        yield call["body"], _read(row.request, call["body"])
    if row.reply and call["status"] < 300 and call["reply"] is not None:
        reply = call["reply"]
        for each in reply["items"] if row.form == "page" else reply if row.form == "list" else [reply]:
            if each is not None:
                yield each, _read(row.reply, each)


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
    """`messages`: `calls`, `redis` and `published`, as they are recorded."""
    for call in messages["calls"]:
        row = row_of(call)
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
    if name == "key_records:KeyRecord" and "agentId" in value:
        name = "key_records:PublishableKeyRecord"
    module, _, model = name.partition(":")
    return getattr(importlib.import_module(f"shared.contracts.{module}"), model).model_validate(value)


def _raw(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


if __name__ == "__main__":
    for fault in faults(json.load(sys.stdin)):
        print(fault)
