"""The relay: makes deliveries of the events that documents brought along, in order, and takes the events off them.

Each step may be repeated and be made by several processes at once: a delivery has the event's id, and the event leaves
its document only when all deliveries exist. The events of a session are relayed together, so that none overtakes one
before it.
"""

from collections.abc import Sequence
from typing import Any, Final

from services.history.metrics import WEBHOOK_EVENTS
from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.filters import Document, above
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.payloads import READ, payload, place_of
from services.history.webhooks.subscriptions import PENDING, Subscriptions

PAGE: Final = 100
# Turns of one session that are relayed at once. More wait for the next round.
MAX_TURNS: Final = 200


class Relay:
    def __init__(self, database: Database, subscriptions: Subscriptions, deliveries: Deliveries) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._taken = 0
        self._collections: dict[str, Collection] = {
            "sessions": database.sessions,
            "turns": database.turns,
            "sources": database.sources,
            "agents": database.agents,
            "budgets": database.budgets,
        }

    async def round(self) -> int:
        """How many events it took off their documents. Raises ApiError while MongoDB is away."""
        self._taken, sessions = 0, dict[str, str]()
        for name in self._collections:
            rows = await self._read(name, {f"{PENDING}.id": above("")}, limit=PAGE)
            for row in rows:
                session = row["_id"] if name == "sessions" else row.get("sessionId") if name == "turns" else None
                if session is not None:
                    sessions[session] = row["workspace"]
                else:
                    await self._relay(name, row, row[PENDING])
        for session, workspace in sessions.items():
            await self._session(workspace, session)
        return self._taken

    async def _session(self, workspace: str, session: str) -> None:
        """Creation, turns by number, end. The end waits for a turn that still runs: its own end comes before."""
        where = {"_id": session, "workspace": workspace, f"{PENDING}.id": above("")}
        found = await self._read("sessions", where, limit=1)
        entries = found[0][PENDING] if found else []
        await self._relay_some("sessions", found, [each for each in entries if each["type"] == "session.created"])
        turns = {"workspace": workspace, "sessionId": session, f"{PENDING}.id": above("")}
        rows = await self._read("turns", turns, order=[("n", 1)], limit=MAX_TURNS)
        for row in rows:
            await self._relay("turns", row, row[PENDING])
        ends = [each for each in entries if each["type"] != "session.created"]
        if ends and len(rows) < MAX_TURNS and not await self._runs(workspace, session):
            await self._relay_some("sessions", found, ends)

    async def _runs(self, workspace: str, session: str) -> bool:
        where = {"workspace": workspace, "sessionId": session, "active": True}
        if await self._collections["turns"].one(where, {"_id": 1}) is not None:
            return True
        # It may have ended since its session's turns were read.
        late = {"workspace": workspace, "sessionId": session, f"{PENDING}.id": above("")}
        return await self._collections["turns"].one(late, {"_id": 1}) is not None

    async def _relay_some(self, name: str, rows: Sequence[Document], entries: Sequence[Document]) -> None:
        if entries:
            await self._relay(name, rows[0], entries)

    async def _relay(self, name: str, row: Document, entries: Sequence[Document]) -> None:
        for entry in entries:
            endpoints = self._subscriptions.asking(row["workspace"], entry["type"])
            if endpoints:
                place, body = place_of(name, row, entry), payload(name, row, entry)
                await self._deliveries.add(endpoints, entry["id"], entry["type"], place, body)
                WEBHOOK_EVENTS.labels(entry["type"]).inc()
            taken = {"$pull": {PENDING: {"id": entry["id"]}}}
            await self._collections[name].update({"_id": row["_id"], "workspace": row["workspace"]}, taken)
            self._taken += 1

    async def _read(self, name: str, where: dict[str, Any], **options: Any) -> list[Document]:
        fields = dict.fromkeys((*READ[name], "workspace", PENDING), 1)
        return await self._collections[name].many(where, fields=fields, **options)
