"""The transcript of a session: its turns' messages in the order of their numbers, paged for clients."""

from collections.abc import AsyncIterator
from typing import Any, Final, Literal

from aiohttp import web

from services.history.api.bodies import SESSION, bad_cursor, cursor_of, cursor_values, limit_of, page_of, part
from services.history.mongo.client import Store, between
from services.history.sessions.records import Sessions
from services.history.turns.record import TurnRecord
from shared.contracts.errors import ApiError, Code
from shared.web.bodies import json_response

Direction = Literal["asc", "desc"]
DIRECTIONS: Final[dict[str, Direction]] = {"asc": "asc", "desc": "desc"}
# Ranges of numbers are read, never "the next so many": most turns have two messages or more.
TURNS_PER_READ: Final = 50


class Transcript:
    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._turns = store.turns
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [web.get(SESSION + "/messages", self._get)]

    async def page(
        self, workspace: str, session_id: str, direction: Direction, after: tuple[int, int] | None, limit: int
    ) -> tuple[list[dict[str, Any]], tuple[int, int] | None]:
        """Up to `limit` public messages after a place (turn number, index in the turn), and the place to go on from."""
        session = await self._sessions.read(workspace, session_id)
        found: list[tuple[tuple[int, int], dict[str, Any]]] = []
        async for record in self._walk(
            workspace, session_id, direction, after[0] if after else None, session.turn_count
        ):
            messages = list(enumerate((*record.input, *record.output)))
            for index, message in messages if direction == "asc" else reversed(messages):
                place = (record.n, index)
                if after is None or (place > after if direction == "asc" else place < after):
                    found.append((place, message.public(session_id, record.id)))
            if len(found) > limit:
                break
        page = found[:limit]
        return [message for _, message in page], page[-1][0] if len(found) > limit else None

    async def _walk(
        self, workspace: str, session_id: str, direction: Direction, start: int | None, last: int
    ) -> AsyncIterator[TurnRecord]:
        """The session's turns from number `start` on, up or down."""
        step = TURNS_PER_READ if direction == "asc" else -TURNS_PER_READ
        number = (1 if direction == "asc" else last) if start is None else start
        while 1 <= number <= last:
            low, high = (number, number + step) if direction == "asc" else (number + step + 1, number + 1)
            where = {"workspace": workspace, "sessionId": session_id, "n": between(low, high)}
            for row in await self._turns.many(where, order=[("n", 1 if direction == "asc" else -1)]):
                yield TurnRecord.model_validate(row)
            number += step

    async def _get(self, request: web.Request) -> web.Response:
        direction = DIRECTIONS.get(request.query.get("order", "asc"))
        if direction is None:
            raise ApiError(Code.INVALID_REQUEST, "order must be asc or desc.", param="order")
        values = cursor_values(request, str, int, int)
        if values is not None and (values[0] != direction or not (0 < values[1] < 2**31 and 0 <= values[2] < 2**31)):
            raise bad_cursor()
        after = (values[1], values[2]) if values is not None else None
        found, place = await self.page(
            part(request, "workspace"), part(request, "session_id"), direction, after, limit_of(request)
        )
        return json_response(page_of(found, cursor_of([direction, *place]) if place else None))
