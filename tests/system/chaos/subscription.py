"""The webhook of a run's workspace: made before the load begins, and waited for at the end."""

import asyncio
import time
from typing import Any, Final

import orjson
from pymongo import MongoClient

from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.webhooks import EVENT_TYPES, StoreWebhook
from shared.history_client import HistoryClient
from shared.ids import new_id
from tests.system.chaos.cluster import DATABASE, WORKSPACE, Cluster
from tests.system.chaos.events import Kept, Untold
from tests.system.chaos.receiver import Receiver

HEARD_WITHIN_S: Final = 20.0
# The longest pause after failures, and a lease of a history that was killed while it sent.
TOLD_WITHIN_S: Final = 30.0


async def subscribe(cluster: Cluster, receiver: Receiver) -> None:
    """Returns when every history tells the receiver of events: their lists of webhooks are a second old at most.

    Raises TimeoutError.
    """
    async with HistoryClient(cluster.histories, cluster.internal_token, timeout_s=15.0) as history:
        order = StoreWebhook(id=new_id("whk"), url=receiver.url, events=EVENT_TYPES)
        receiver.secret = (await history.create_webhook(WORKSPACE, order)).secret
    async with asyncio.timeout(HEARD_WITHIN_S):
        await asyncio.gather(*(_heard(cluster, url, receiver) for url in cluster.histories))


async def _heard(cluster: Cluster, url: str, receiver: Receiver) -> None:
    published: set[str] = set()
    async with HistoryClient([url], cluster.internal_token, timeout_s=15.0) as history:
        while not published & receiver.published:
            agent = new_id("agt")
            await history.put_agent(WORKSPACE, agent, AgentConfig(name="heard", model=ModelChoice(name="heard")))
            await history.publish_agent(WORKSPACE, agent, [])
            published.add(agent)
            await asyncio.sleep(0.5)


async def told(cluster: Cluster, patience_s: float) -> list[Kept | Untold]:
    """The sessions, and what waits to be told of them: nothing, or what `patience_s` was too short for."""
    deadline = time.monotonic() + max(patience_s, TOLD_WITHIN_S)
    while True:
        kept, untold = await asyncio.to_thread(_read, cluster.mongodb_uri)
        if not untold or time.monotonic() > deadline:
            return [*kept, *untold]
        await asyncio.sleep(0.5)


def _read(uri: str) -> tuple[list[Kept], list[Untold]]:
    client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=10_000)
    try:
        database = client[DATABASE]
        sessions = list(database["sessions"].find({}, {"status": 1}))
        kept = [Kept(session=row["_id"], status=row["status"]) for row in sessions]
        # In this order: an event that moves on meanwhile is seen once at least.
        brought = [
            Untold(subject=row["_id"])
            for name in ("sessions", "turns")
            for row in database[name].find({"unsent.id": {"$gt": ""}}, {"_id": 1})
        ]
        queue = database["webhook_deliveries"]
        waiting = [orjson.loads(row["body"])["data"] for row in queue.find({"waiting": True}, {"body": 1})]
        on_the_way = [Untold(subject=data.get("turnId") or data.get("sessionId") or "") for data in waiting]
        return kept, [*brought, *on_the_way]
    finally:
        client.close()
