"""Both ends of the exchange. Nothing of it is stored: requests and replies expire after some seconds."""

import time
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from shared.broker.client import connect
from shared.broker.script import Script
from shared.contracts.errors import ApiError, Code
from shared.contracts.previews import KnowledgePreview, PreviewOrder, PreviewReply
from shared.log import get_logger

log = get_logger()

REQUESTS: Final = "parley:previews"
# More would wait longer than their callers do.
MOST_WAITING: Final = 64
KEPT_MS: Final = 30_000
# A blocking command must end before the connection's own time limit of 5 s.
BLOCK_S: Final = 2.0
_HERE: Final = Path(__file__).parent
_ASK: Final = Script.read(_HERE / "ask.lua")
_ANSWER: Final = Script.read(_HERE / "answer.lua")


class PreviewExchange:
    """`url`: the queue's Redis. It connects at the first command; close it."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    async def aclose(self) -> None:
        await self._redis.aclose()

    # --- a gateway

    async def ask(self, order: PreviewOrder) -> KnowledgePreview:
        """Raises `overloaded`, `dependency_unavailable` if no worker answers in time, and what a worker says."""
        try:
            arguments: list[str | bytes | int] = [order.model_dump_json(by_alias=True), MOST_WAITING, KEPT_MS]
            if not await _ASK.run(self._redis.execute_command, [REQUESTS], arguments):
                raise ApiError(Code.OVERLOADED, "Too many previews wait for a worker. Try again in some seconds.")
            reply = await self._reply(order)
        except (RedisError, OSError):
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The queue does not answer.") from None
        if reply.preview is None:
            raise ApiError.from_problem(reply.problem or {})
        return reply.preview

    async def _reply(self, order: PreviewOrder) -> PreviewReply:
        while (left_s := order.deadline_ms / 1000 - time.time()) > 0:
            found = await self._taken(_reply_key(order.id), min(BLOCK_S, left_s))
            if found is not None:
                return PreviewReply.model_validate_json(found)
        raise ApiError(
            Code.DEPENDENCY_UNAVAILABLE, "No worker answered in time. Check that a worker of turns is running."
        )

    # --- a worker

    async def next(self) -> PreviewOrder | None:
        """None: nobody has asked within two seconds, or what came is no request. Raises RedisError, OSError."""
        found = await self._taken(REQUESTS, BLOCK_S)
        try:
            return PreviewOrder.model_validate_json(found) if found is not None else None
        except ValueError:
            log.warning("preview_unreadable")
            return None

    async def answer(self, order: PreviewOrder, reply: PreviewReply) -> None:
        """Raises RedisError, OSError."""
        arguments: list[str | bytes | int] = [reply.model_dump_json(by_alias=True, exclude_none=True), KEPT_MS]
        await _ANSWER.run(self._redis.execute_command, [_reply_key(order.id)], arguments)

    async def _taken(self, key: str, wait_s: float) -> bytes | None:
        found: Any = await self._redis.execute_command("BLPOP", key, max(0.01, round(wait_s, 2)))
        return found[1] if found else None


def _reply_key(order_id: str) -> str:
    return f"{REQUESTS}:{order_id}"
