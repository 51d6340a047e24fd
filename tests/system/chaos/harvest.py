"""The stored truth at the end of a run: every turn's document, and every session as the public API tells it."""

import asyncio
import time
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient

from tests.system.chaos.checker import TERMINAL
from tests.system.chaos.cluster import DATABASE, Cluster
from tests.system.chaos.events import Stored, Transcript
from tests.system.chaos.visitor import Visitor, assistant_text


async def stored_turns(cluster: Cluster, patience_s: float) -> list[Stored]:
    """All turns, once they have all ended: some had their clients give them up. After `patience_s`, as they are."""
    deadline = time.monotonic() + patience_s
    while True:
        turns = await asyncio.to_thread(lambda: [_stored(document) for document in _documents(cluster.mongodb_uri)])
        if all(turn.status in TERMINAL for turn in turns) or time.monotonic() > deadline:
            return turns
        await asyncio.sleep(0.5)


def _documents(uri: str) -> list[dict[str, Any]]:
    client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=10_000)
    try:
        return list(client[DATABASE]["turns"].find({}))
    finally:
        client.close()


def _stored(document: dict[str, Any]) -> Stored:
    asked = [message for message in document["input"] if message["role"] == "user"]
    output = document.get("output") or []
    error = document.get("error")
    return Stored(
        turn=document["_id"],
        session=document.get("sessionId") or "",
        key=document.get("idempotencyKey"),
        status=document["status"],
        attempt=document["attempt"],
        asked=asked[-1]["content"] if asked else "",
        text=assistant_text(output),
        message_ids=tuple(message["id"] for message in [*document["input"], *output]),
        last_seq=document.get("lastSeq") or 0,
        usage=document.get("usage") or {},
        error=error["code"] if error else None,
        retryable=bool(error and error.get("retryable")),
    )


async def transcripts(reader: Visitor, sessions: list[str]) -> list[Transcript]:
    """A few at a time: the stand-in is slow."""
    found: list[Transcript] = []
    waiting = list(sessions)

    async def work() -> None:
        while waiting:
            found.append(await _transcript(reader, waiting.pop()))

    await asyncio.gather(*(work() for _ in range(8)))
    return found


async def _transcript(reader: Visitor, session: str) -> Transcript:
    messages: list[tuple[str, str, str, str]] = []
    cursor = ""
    while True:
        page = await reader.page(f"/chat/sessions/{session}/messages?limit=200" + (f"&cursor={quote(cursor)}" if cursor else ""))
        messages += [(each["turnId"], each["role"], each["id"], each.get("content") or "") for each in page["data"]]
        cursor = (page.get("pagination") or {}).get("nextCursor") or ""
        if not cursor:
            return Transcript(session=session, messages=tuple(messages))
