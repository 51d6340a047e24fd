"""Deliveries: one event for one endpoint each. They wait, are delivered, or are dead letters that can be sent again.

`waiting`, `endpoint` and `dueAt` are the queue. Within a lane (a session, or one document of another kind) the first of
`rank` is sent alone, and the others wait behind it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.filters import Document, above, none_of, one_of, up_to
from services.history.webhooks.payloads import Place
from services.history.webhooks.subscriptions import Endpoint
from shared.contracts.errors import ApiError, Code
from shared.contracts.webhooks import TEST_EVENT, Delivery, DeliveryState, Replayed

_IDS: Final = IdField("eventId", "evt")
# Of a lane, those that are put off together. A lane is one session's, or one document's.
LANE_READ: Final = 10_000
_FOUND: Final = {"endpoint": 1, "workspace": 1, "lane": 1, "dueAt": 1, "createdAt": 1}
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Deliveries:
    def __init__(self, database: Database, keep_s: float) -> None:
        self._rows = database.webhook_deliveries
        self._keep = timedelta(seconds=keep_s)

    async def add(self, endpoints: Sequence[Endpoint], event_id: str, kind: str, place: Place, body: bytes) -> None:
        """May be repeated: an event is stored once per endpoint."""
        now = datetime.now(UTC)
        rows = [
            {
                "_id": f"{each.id}:{event_id}",
                "workspace": each.workspace,
                "endpoint": each.id,
                "eventId": event_id,
                "type": kind,
                "lane": place.lane,
                "rank": place.rank,
                "body": body.decode(),
                "state": "pending",
                "waiting": True,
                "attempts": 0,
                "dueAt": now,
                "leaseUntil": NEVER,
                "createdAt": now,
            }
            for each in endpoints
        ]
        await self._rows.insert_all(rows)

    # --- for the sender

    async def due(self, limit: int, after: str, but: Sequence[str], but_of: Sequence[str]) -> list[Document]:
        """Those that may be tried, also ones that wait behind another: by endpoint, and of each the oldest first.

        Of endpoints whose id is above `after`, `but` for these endpoints and those of these workspaces. In the order of
        an index that skips the endpoints: what waits for them costs nothing.
        """
        where: Document = {"waiting": True, "endpoint": above(after, but), "dueAt": up_to(datetime.now(UTC))}
        if but_of:
            where["workspace"] = none_of(but_of)
        return await self._rows.many(where, fields=_FOUND, order=[("endpoint", 1), ("dueAt", 1)], limit=limit)

    async def due_of(self, endpoint: str, limit: int) -> list[Document]:
        """Those of one endpoint that have been due for the longest time."""
        where = {"waiting": True, "endpoint": endpoint, "dueAt": up_to(datetime.now(UTC))}
        return await self._rows.many(where, fields=_FOUND, order=[("dueAt", 1)], limit=limit)

    async def tests_due(self, limit: int) -> list[Document]:
        """Events that somebody has asked for, to see whether an endpoint is well."""
        now = datetime.now(UTC)
        rows = await self._rows.many({"type": TEST_EVENT, "waiting": True}, fields=_FOUND, limit=limit)
        return [row for row in rows if row["dueAt"] <= now]

    async def head(self, endpoint: str, lane: str) -> Document | None:
        """The first that waits in the lane."""
        where = {"endpoint": endpoint, "lane": lane, "waiting": True}
        rows = await self._rows.many(where, order=[("rank", 1)], limit=1)
        return rows[0] if rows else None

    async def claim(self, row: Document, until: datetime) -> bool:
        """False: another process sends it, or has sent it."""
        where = {"_id": row["_id"], "waiting": True, "leaseUntil": up_to(datetime.now(UTC))}
        return await self._rows.update(where, {"$set": {"leaseUntil": until}})

    async def delivered(self, row: Document, status: int) -> None:
        now = datetime.now(UTC)
        done = {"state": "delivered", "status": status, "lastAttemptAt": now, "expiresAt": now + self._keep}
        unset = {"waiting": "", "dueAt": "", "error": ""}
        change = {"$set": done, "$inc": {"attempts": 1}, "$unset": unset}
        await self._rows.update({"_id": row["_id"], "waiting": True}, change)

    async def failed(self, row: Document, error: str, status: int | None, due: datetime) -> None:
        """It is tried again at `due`, and what waits behind it with it."""
        said = {"error": error, "status": status, "lastAttemptAt": datetime.now(UTC)}
        change = {"$set": {**said, "dueAt": due, "leaseUntil": NEVER}, "$inc": {"attempts": 1}}
        await self._rows.update({"_id": row["_id"], "waiting": True}, change)
        await self.put_off(row["endpoint"], row["lane"], due)

    async def put_off(self, endpoint: str, lane: str, due: datetime) -> None:
        """The whole lane, but for what is due later anyway."""
        where = {"endpoint": endpoint, "lane": lane, "waiting": True}
        # By their ids: with one comparison more the embedded database reads all of the endpoint (1.2 s for 20,000).
        rows = await self._rows.many(where, fields={"dueAt": 1}, limit=LANE_READ)
        early = [row["_id"] for row in rows if row["dueAt"] < due]
        if early:
            await self._rows.update_all({"_id": one_of(early), "waiting": True}, {"$set": {"dueAt": due}})

    async def bury(self, row: Document, error: str, status: int | None = None, *, was_tried: bool = True) -> None:
        """A dead letter: it is kept for a while, and sent again only when somebody asks for it."""
        now = datetime.now(UTC)
        done: Document = {"state": "dead", "error": error, "status": status, "expiresAt": now + self._keep}
        if was_tried:
            done["lastAttemptAt"] = now
        change = {"$set": done, "$inc": {"attempts": int(was_tried)}, "$unset": {"waiting": "", "dueAt": ""}}
        await self._rows.update({"_id": row["_id"], "waiting": True}, change)

    # --- for people

    async def page(
        self, workspace: str, endpoint: str, state: DeliveryState | None, before: str | None, limit: int
    ) -> tuple[list[Delivery], str | None]:
        """The newest first, and the event's id to continue from."""
        where: dict[str, Any] = {"workspace": workspace, "endpoint": endpoint}
        if state is not None:
            where["state"] = state
        rows, following = await self._rows.page(where, _IDS, "desc", before, limit)
        return [_shown(row) for row in rows], following

    async def one(self, workspace: str, endpoint: str, event_id: str) -> Delivery:
        """Raises `not_found`."""
        row = await self._rows.one({"_id": f"{endpoint}:{event_id}", "workspace": workspace})
        if row is None:
            raise ApiError(Code.NOT_FOUND, "There is no such delivery, or it was deleted at the end of its time.")
        return _shown(row)

    async def replay(self, workspace: str, endpoint: str, event_id: str) -> int:
        """Sends again what has been delivered or is dead. Returns 1, or 0 for what waits anyway."""
        where = {"workspace": workspace, "endpoint": endpoint, "_id": f"{endpoint}:{event_id}"}
        return await self._again(where)

    async def replay_dead(self, workspace: str, endpoint: str, limit: int) -> Replayed:
        """Sends the oldest dead letters again."""
        where: Document = {"workspace": workspace, "endpoint": endpoint, "state": "dead"}
        rows = await self._rows.many(where, fields={"_id": 1}, order=[("eventId", 1)], limit=limit + 1)
        chosen = [row["_id"] for row in rows[:limit]]
        count = await self._again({**where, "_id": one_of(chosen)}) if chosen else 0
        return Replayed(replayed=count, more=len(rows) > limit)

    async def _again(self, where: Document) -> int:
        now = datetime.now(UTC)
        fresh = {"state": "pending", "waiting": True, "dueAt": now, "leaseUntil": NEVER, "attempts": 0, "again": now}
        return await self._rows.update_all({**where, "waiting": None}, {"$set": fresh, "$unset": {"expiresAt": ""}})

    async def forget(self, endpoint: str) -> None:
        """All of an endpoint that is gone."""
        await self._rows.delete_all({"_id": above(f"{endpoint}:"), "endpoint": endpoint})


def _shown(row: Document) -> Delivery:
    members = {
        **row,
        "id": row["eventId"],
        "payload": orjson.loads(row["body"]),
        "nextAttemptAt": row.get("dueAt"),
    }
    return Delivery.model_validate(members)
