"""Whether `GET /usage` stays flat with 100,000 turns, and how fast the ledger takes ended turns in.

The turns are copies of one that ended, a minute apart and of several keys, which the ledger has not seen yet.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from pymongo import MongoClient

from tests.bench.grown import Document, Store, compared, now_ms, old_id, workspace_of
from tests.bench.grown_workspace import Workspace
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name
from tests.bench.wire import BadAnswer

SMALL: Final = 10_000
LARGE: Final = 100_000
KEYS: Final = 5
DAYS: Final = 30
PATIENCE_S: Final = 1800.0
# Between two looks, for each turn: a look counts the whole backlog, which costs the stand-in most of its time.
PAUSE_S: Final = 0.00005


async def usage(rig: Rig, effort: Effort) -> list[Row]:
    share = 10 if effort.quick else 1
    with MongoClient[Document](rig.mongodb_uri) as client:
        store = Store(client)
        workspaces = {count // share: await workspace_of(rig, f"bench-usage-{count}") for count in (SMALL, LARGE)}
        rows = [await _taken_in(workspace, store, count) for count, workspace in workspaces.items()]
        paths = {f"by {group}": f"/usage?groupBy={group}" for group in ("day", "agent", "key", "model")}
        askings = {
            name: lambda count, path=path: workspaces[count].get(path)  # In the last 30 days.
            for name, path in paths.items()
        }
        rows += await compared("usage of {} turns", askings, {count: count for count in workspaces}, 5 * effort.rounds)
        for workspace in workspaces.values():
            workspace.close()
        return rows


async def _taken_in(workspace: Workspace, store: Store, count: int) -> Row:
    """How long the ledger needs for turns that all ended at once, as after an outage of days."""
    agent = await workspace.new_agent(model_name(8, 0, 0))
    await workspace.first_turn(agent)
    row = await store.one("turns", {"workspace": workspace.name, "status": "completed"})
    await store.add("turns", _turns(row, count))
    started = time.monotonic()
    while await _told(workspace) <= count:
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError(f"the ledger has not taken {count} turns in")
        await asyncio.sleep(count * PAUSE_S)
    took_s = time.monotonic() - started
    figures = {"s": took_s, "turns/s": count / took_s}
    return {"scenario": "the ledger takes turns in", "target": f"{count:,} turns", "rounds": 1, **figures}


async def _told(workspace: Workspace) -> int:
    try:
        page = await workspace.get("/usage?groupBy=agent")
    except BadAnswer:
        return 0  # 503: amid a large backlog the stand-in cannot read the sums in time.
    return sum(row["turns"] for row in page["data"])


def _turns(row: Document, count: int) -> Iterator[Document]:
    now, today = now_ms(), datetime.now(UTC)
    for number in range(count):
        yield {
            **row,
            "_id": old_id("trn", now, number + 1),
            "n": number + 2,
            "keyId": f"key_{number % KEYS}",
            "endedAt": today - timedelta(days=number % DAYS),
            "unbilled": True,
        }
