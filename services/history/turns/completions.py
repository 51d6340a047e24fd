"""Completions that their callers asked to be kept: listed, labelled anew and erased. They are turns; `turns.py` reads one."""

from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import WORKSPACE, limit_of, page_of, part, read_schema
from services.history.mongo.client import Store, all_of, one_of
from services.history.mongo.id_pages import Direction, page_by_id
from services.history.sessions.transcript import DIRECTIONS
from services.history.settings import HistorySettings
from services.history.turns.record import TurnRecord, labels_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import StoredTurn
from shared.ids import is_id
from shared.run_log.reader import RunLogs
from shared.web.bodies import json_response

COMPLETION: Final = WORKSPACE + r"/completions/{turn_id:[A-Za-z0-9_-]{1,64}}"
MAX_LABELS: Final = 16
# Of what failed there is no completion to show.
SHOWN: Final = one_of(("completed", "cancelled"))


class Labels(BaseModel):
    metadata: dict[str, str] = Field(max_length=MAX_LABELS)


class Completions:
    def __init__(self, store: Store, logs: RunLogs, settings: HistorySettings) -> None:
        self._turns = store.turns
        self._logs = logs
        self._tombstone_life = timedelta(seconds=settings.completion_keep_s)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(WORKSPACE + "/completions", self._get_page),
            web.post(COMPLETION, self._post),
            web.delete(COMPLETION, self._delete),
        ]

    # --- rules

    async def page(
        self,
        workspace: str,
        agent_id: str | None,
        labels: list[str],
        direction: Direction,
        after: str | None,
        limit: int,
    ) -> tuple[list[StoredTurn], str | None]:
        """Stored completions after the id `after`, without their callers' messages, and the id to go on from."""
        where = {"workspace": workspace, "status": SHOWN}
        if agent_id is not None:
            where["agentId"] = agent_id
        if labels:
            where["labels"] = all_of(labels)
        rows, next_id = await page_by_id(self._turns, where, "storedId", "trn", direction, after, limit, {"input": 0})
        return [TurnRecord.model_validate(row).stored() for row in rows], next_id

    async def label(self, workspace: str, turn_id: str, metadata: dict[str, str]) -> StoredTurn:
        """Raises `turn_not_found`."""
        where = {"_id": turn_id, "workspace": workspace, "storedId": turn_id, "status": SHOWN}
        if not await self._turns.update(where, {"$set": {"labels": labels_of(metadata)}}):
            raise ApiError(Code.TURN_NOT_FOUND)
        row = await self._turns.one(where)
        if row is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        return TurnRecord.model_validate(row).stored()

    async def erase(self, workspace: str, turn_id: str) -> None:
        """What was said goes; a tombstone stays for a while, so that a repeat of its idempotency key is not answered with nothing.

        The log goes first: an erasure that is cut off is not taken for a finished one. Raises `turn_not_found`.
        """
        where = {"_id": turn_id, "workspace": workspace, "active": False, "store": True}
        if await self._turns.one(where, {"_id": 1}) is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        await self._logs.erase(workspace, turn_id)
        gone = ("completion", "metadata", "labels", "storedId")
        change = {
            "$set": {"erased": True, "input": [], "output": [], "expiresAt": datetime.now(UTC) + self._tombstone_life},
            "$unset": dict.fromkeys(gone, ""),
        }
        await self._turns.update(where, change)

    # --- handlers

    async def _get_page(self, request: web.Request) -> web.Response:
        query = request.query
        direction = DIRECTIONS.get(query.get("order", "asc"))
        if direction is None:
            raise ApiError(Code.INVALID_REQUEST, "order must be asc or desc.", param="order")
        after, labels = query.get("after"), query.getall("label", [])
        if after is not None and not is_id("trn", after):
            raise ApiError(Code.INVALID_REQUEST, "after must be the id of a completion.", param="after")
        if len(labels) > MAX_LABELS:
            raise ApiError(
                Code.INVALID_REQUEST, f"at most {MAX_LABELS} pairs of metadata can be looked for.", param="metadata"
            )
        found, next_id = await self.page(
            part(request, "workspace"), query.get("agentId"), labels, direction, after, limit_of(request)
        )
        return json_response(page_of([stored.wire() for stored in found], next_id))

    async def _post(self, request: web.Request) -> web.Response:
        body = await read_schema(request, Labels)
        return json_response(
            (await self.label(part(request, "workspace"), part(request, "turn_id"), body.metadata)).wire()
        )

    async def _delete(self, request: web.Request) -> web.Response:
        await self.erase(part(request, "workspace"), part(request, "turn_id"))
        return web.Response(status=204)
