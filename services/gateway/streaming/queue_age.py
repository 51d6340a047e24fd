"""Refuses new turns while the oldest waiting one has waited for too long, so that clients learn of it at once."""

import asyncio
import math
from types import TracebackType
from typing import Final, Self

from redis.exceptions import RedisError

from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from shared.metrics import LIMITS_HIT
from shared.tasks import BackgroundLoops
from shared.turn_queue.queue import TurnQueue

log = get_logger()

LOOK_EVERY_S: Final = 1.0
ANSWER_S: Final = 2.0
MAX_RETRY_S: Final = 60


class QueueAge:
    """Looks once a second, so that an admission asks nothing. `async with` it; `limit_s` 0: no limit, and no look.

    Fails open: without Redis the age is not known, and admission refuses by itself.
    """

    def __init__(self, queue: TurnQueue, limit_s: float) -> None:
        self.loops = BackgroundLoops()
        self._queue = queue
        self._limit_s = limit_s
        self._age_s = 0.0

    async def __aenter__(self) -> Self:
        if self._limit_s:
            self.loops.start("queue_age", self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.loops.end()

    def refuse(self) -> None:
        """Raises `overloaded`. It may be right to come back once the queue is as much younger as it is too old."""
        if self._limit_s and self._age_s > self._limit_s:
            LIMITS_HIT.labels("queue_age").inc()
            retry_s = min(MAX_RETRY_S, max(1, math.ceil(self._age_s - self._limit_s)))
            detail = "Turns have to wait for too long at the moment. Nothing was stored."
            raise ApiError(Code.OVERLOADED, detail, headers={"Retry-After": str(retry_s)})

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    _, self._age_s = await self._queue.backlog()
            except (RedisError, OSError) as error:
                self._age_s = 0.0
                log.debug("queue_age_unknown", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)
