"""What is stored at the end of a run: turn documents, sessions by the public API, rests of deleted ones."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from pymongo import MongoClient
from redis.asyncio import Redis

from services.history.turns.record import KEPT_OF_ERASED, USAGE_ONLY
from services.history.turns.redis_erasure import AGAIN_AFTER
from shared.budgets.counters import LINES, PREFIX
from tests.system.chaos.checker import TERMINAL
from tests.system.chaos.cluster import DATABASE, WORKSPACE, Cluster
from tests.system.chaos.events import (
    Accepted,
    Asked,
    Billed,
    Counted,
    Deleted,
    History,
    Remains,
    Reserved,
    Stored,
    Transcript,
)
from tests.system.chaos.visitor import Visitor, assistant_text

# A reconciler leaves a young turn's reservation alone for 15 s, and then has its interval.
RELEASED_WITHIN_S: Final = 30.0
# The second erasure is the work of a reconciler, which a fault may have stopped.
SECOND_ERASURE_WITHIN_S: Final = 30.0


async def stored_turns(cluster: Cluster, patience_s: float) -> list[Stored]:
    """All turns, once they have all ended: some had their clients give them up. After `patience_s`, as they are."""
    deadline = time.monotonic() + patience_s
    while True:
        turns = await asyncio.to_thread(
            lambda: [_stored(each) for each in _documents(cluster.mongodb_uri) if USAGE_ONLY not in each]
        )
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
        used=_tokens(document, estimated=False),
        estimated=_tokens(document, estimated=True),
        untold=_untold(document),
        n=document.get("n") or 0,
    )


def _tokens(document: dict[str, Any], *, estimated: bool) -> int:
    """Of the attempt that ended the turn, and of those before it."""
    uses = [*(document.get("uses") or ())]
    for attempt, spent in (document.get("spent") or {}).items():
        uses += spent if int(attempt) != document["attempt"] else ()
    usages = [use["usage"] for use in uses if bool(use["usage"].get("estimated")) == estimated]
    return sum(usage["promptTokens"] + usage["completionTokens"] for usage in usages)


def _untold(document: dict[str, Any]) -> tuple[int, ...]:
    """Those that neither told what they used nor have an estimate."""
    told = {int(attempt) for attempt in document.get("spent") or {}}
    return tuple(attempt for attempt in range(1, document["attempt"]) if attempt not in told)


async def counted(cluster: Cluster, reader: Visitor) -> tuple[Counted, list[Billed]]:
    """For when all turns have ended. `/usage` tells of the days from yesterday on, for a run at midnight."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    rows = (await reader.page(f"/usage?groupBy=agent&from={yesterday}"))["data"]
    documents = await asyncio.to_thread(_documents, cluster.mongodb_uri)
    erased = [each["usage"] for each in documents if USAGE_ONLY in each and each.get("usage")]
    estimated = sum(row["estimatedTokens"] for row in rows)
    usage = Counted(
        turns=sum(row["turns"] for row in rows),
        used=sum(row["totalTokens"] for row in rows) - estimated,
        estimated=estimated,
        erased=sum(usage["totalTokens"] for usage in erased if not usage.get("estimated")),
    )
    async with reader.world.http.get(f"{cluster.model_url}/book") as response:
        book = await response.json()
    return usage, [
        Billed(
            asked=asked,
            whole_calls=page["wholeCalls"],
            whole_tokens=page["wholeTokens"],
            cut_calls=page["cutCalls"],
            cut_tokens=page["cutTokens"],
        )
        for asked, page in book.items()
    ]


async def remains(cluster: Cluster, history: History, patience_s: float) -> list[Remains]:
    """What the stores still hold of the sessions whose deletion was acknowledged; waits for the reconcilers to remove
    it. A replica that takes over may lack a deletion, and has the log until history erases it for the second time.
    """
    if cluster.redis.watched:
        patience_s = max(patience_s, AGAIN_AFTER.total_seconds() + SECOND_ERASURE_WITHIN_S)
    deleted = {event.session for event in history.events if isinstance(event, Deleted)}
    sessions = {event.request: event.session for event in history.events if isinstance(event, Asked)}
    accepted = {event.turn: sessions[event.request] for event in history.events if isinstance(event, Accepted)}
    turns = {turn: session for turn, session in accepted.items() if session in deleted}
    deadline = time.monotonic() + patience_s
    while True:
        found = [
            *await asyncio.to_thread(_documents_of, cluster.mongodb_uri, deleted, turns),
            *await _logs_of(await cluster.redis.primary_url(), turns),
        ]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


def _documents_of(uri: str, deleted: set[str], turns: dict[str, str]) -> list[Remains]:
    """Turns that name a deleted session, and turns of one that have more than what they used."""
    found = []
    for each in _documents(uri):
        session = each.get("sessionId") or turns.get(each["_id"], "")
        more = each.keys() - {"_id", "schemaVersion", USAGE_ONLY, *KEPT_OF_ERASED}
        if session in deleted and more:
            found.append(Remains(session=session, what=f"{', '.join(sorted(more))} of the turn {each['_id']}"))
    return found


async def _logs_of(url: str, turns: dict[str, str]) -> list[Remains]:
    async with Redis.from_url(url) as redis:
        return [
            Remains(session=session, what=f"the run log of {turn}")
            for turn, session in turns.items()
            if await redis.exists(f"turn:{WORKSPACE}:{turn}")
        ]


async def reservations(cluster: Cluster, patience_s: float) -> list[Reserved]:
    """What Redis still reserves, once nothing is; after `patience_s`, as it is. For when all turns have ended."""
    deadline = time.monotonic() + max(patience_s, RELEASED_WITHIN_S)
    async with Redis.from_url(await cluster.redis.primary_url(), decode_responses=True) as redis:
        while True:
            lines: list[str] = await redis.hkeys(LINES)
            found = [Reserved(turn=turn, what="a note for its claim") for turn in lines]
            async for name in redis.scan_iter(f"{PREFIX}:*", count=500):
                if name != LINES:
                    found += _reserved(name, await redis.hgetall(name))
            if not found or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.5)


def _reserved(name: str, counter: dict[str, str]) -> list[Reserved]:
    """Of one counter: the turns that hold a reservation, and a sum that they do not explain."""
    held = {field.removeprefix("h:"): value for field, value in counter.items() if field.startswith("h:")}
    found = [Reserved(turn=turn, what=f"{value} under {name}") for turn, value in held.items()]
    tokens = sum(int(value.split()[0]) for value in held.values() if value != "counted")
    reserved = int(counter.get("heldTokens", 0))
    if reserved != tokens:
        found.append(Reserved(turn="", what=f"{reserved} tokens under {name}, of which turns hold {tokens}"))
    return found


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
        page = await reader.page(
            f"/chat/sessions/{session}/messages?limit=200" + (f"&cursor={quote(cursor)}" if cursor else "")
        )
        messages += [(each["turnId"], each["role"], each["id"], each.get("content") or "") for each in page["data"]]
        cursor = (page.get("pagination") or {}).get("nextCursor") or ""
        if not cursor:
            return Transcript(session=session, messages=tuple(messages))
