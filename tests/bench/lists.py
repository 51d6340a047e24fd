"""Whether the filters of the list of sessions stay flat: the same questions to a small and a large workspace."""

from collections.abc import Iterator
from typing import Final

import orjson
from pymongo import MongoClient

from tests.bench.grown import Document, Store, compared, now_ms, old_id, workspace_of
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name

SMALL: Final = 2_000
LARGE: Final = 20_000
# Every so many sessions share an end user and a customer, however many sessions there are.
FOUND: Final = 20


async def lists(rig: Rig, effort: Effort) -> list[Row]:
    share = 10 if effort.quick else 1
    with MongoClient[Document](rig.mongodb_uri) as client:
        store = Store(client)
        workspaces = {count // share: await workspace_of(rig, f"bench-lists-{count}") for count in (SMALL, LARGE)}
        agents = {}
        for count, workspace in workspaces.items():
            agents[count] = await workspace.new_agent(model_name(8, 0, 0))
            row = await store.one("sessions", {"_id": await workspace.new_session(agents[count])})
            await store.add("sessions", _sessions(row, count))
        paths = {
            "all": "",
            "by agent": "?agentId={agent}",
            "by agent and version": "?agentId={agent}&agentVersion=1",
            "by status": "?status=active",
            "by agent and status": "?agentId={agent}&status=active",
            "by end user": "?endUser=u1",
            "by a rare pair of metadata": "?metadata[customer]=k1",
            "by a rare and a common pair": "?metadata[customer]=k1&metadata[plan]=pro",
        }
        askings = {
            name: lambda count, path=path: workspaces[count].get("/chat/sessions" + path.format(agent=agents[count]))
            for name, path in paths.items()
        }
        sizes = {count: count for count in workspaces}
        rows = await compared("a workspace of {} sessions", askings, sizes, 5 * effort.rounds)
        for workspace in workspaces.values():
            workspace.close()
        return rows


def _sessions(row: Document, count: int) -> Iterator[Document]:
    """Copies of a session, one a minute; every tenth is active."""
    now = now_ms()
    for number in range(count):
        group = number % max(1, count // FOUND)
        metadata = {"customer": f"k{group}", "plan": "pro"}
        yield {
            **row,
            "_id": old_id("ses", now, number + 1),
            "status": "ended" if number % 10 else "active",
            "endUserId": f"u{group}",
            "labels": [orjson.dumps(pair).decode() for pair in metadata.items()],
            "metadata": orjson.dumps(metadata).decode(),
        }
