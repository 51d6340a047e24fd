"""The relay: makes deliveries of the events that documents brought along, in order, and takes the events off them.

Each step may be repeated and be made by several processes at once: a delivery has the event's id, and the event leaves
its document only when all deliveries exist. The events of a session are relayed together, so that none overtakes one
before it.
"""

from collections import defaultdict
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
        self._taken, turns = 0, defaultdict[tuple[str, str], list[Document]](list)
        sessions = dict[tuple[str, str], Document]()
        for name in self._collections:
            for row in await self._read(name, {f"{PENDING}.id": above("")}, limit=PAGE):
                if name == "sessions":
                    sessions[row["workspace"], row["_id"]] = row
                elif name == "turns" and row.get("sessionId") is not None:
                    turns[row["workspace"], row["sessionId"]].append(row)
                else:
                    await self._relay(name, row, row[PENDING])
        for session in {**sessions, **turns}:
            await self._session(session, sessions.get(session), sorted(turns[session], key=lambda row: int(row["n"])))
        return self._taken

    async def _session(self, session: tuple[str, str], row: Document | None, turns: Sequence[Document]) -> None:
        """Creation, turns by number, end. The end waits for a turn that still runs: its own end comes before."""
        entries = row[PENDING] if row is not None else ()
        if row is None and turns and turns[0]["n"] == 1:
            # It was read before the turns: its creation may have come in between.
            row = await self._collections["sessions"].one({"_id": session[1], "workspace": session[0]})
            entries = row.get(PENDING, ()) if row is not None else ()
        if row is not None:
            await self._relay("sessions", row, [each for each in entries if each["type"] == "session.created"])
        if turns and await self._waits(session, turns[0]["n"] - 1):
            return
        for turn in turns:
            await self._relay("turns", turn, turn[PENDING])
        ends = [each for each in entries if each["type"] != "session.created"]
        if row is not None and ends and not await self._goes_on(session):
            await self._relay("sessions", row, ends)

    async def _waits(self, session: tuple[str, str], n: int) -> bool:
        """Whether the turn of this number has an event that this page lacks: two histories' clocks may differ."""
        where = {"workspace": session[0], "sessionId": session[1], "n": n}
        before = await self._collections["turns"].one(where, {PENDING: 1})
        return before is not None and bool(before.get(PENDING))

    async def _goes_on(self, session: tuple[str, str]) -> bool:
        """Whether a turn still runs, or the last one's end is still to be relayed. They are relayed in order."""
        where = {"workspace": session[0], "sessionId": session[1]}
        if await self._collections["turns"].one({**where, "active": True}, {"_id": 1}) is not None:
            return True
        last = await self._collections["turns"].many(where, fields={PENDING: 1}, order=[("n", -1)], limit=1)
        return bool(last and last[0].get(PENDING))

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
