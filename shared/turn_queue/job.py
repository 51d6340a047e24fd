"""A claimed job, and the ways to acknowledge it."""

import asyncio
from typing import Any

from redis.exceptions import RedisError

from shared.backoff import backoff
from shared.broker.script import Script
from shared.contracts.errors import ApiError
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import FinishedTurn
from shared.log import get_logger
from shared.outbox import SCHEMA_VERSION, body_of
from shared.turn_queue import scripts
from shared.turn_queue.queue import TurnQueue

log = get_logger()

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 0.5


class LeasedJob:
    """A claimed turn. Whoever runs it acknowledges it by exactly one of `finish`, `requeue` and `drop`.

    `snapshot` is the claim snapshot that was enqueued with the job, and None for any claim but the first. `refusal`: a
    budget is used up, so the turn must end with this error.
    When the lease is lost the running task is cancelled: another worker has the turn, and nothing more may be written.
    """

    def __init__(
        self,
        queue: TurnQueue,
        job: RunTurn,
        claim_id: str,
        payload: bytes,
        snapshot: bytes | None = None,
        refusal: ApiError | None = None,
    ) -> None:
        self.job = job
        self.claim_id = claim_id
        self.payload = payload
        self.snapshot = snapshot
        self.refusal = refusal
        self.cancelled = asyncio.Event()
        self.must_stop = asyncio.Event()
        self.acknowledged = False
        self._queue = queue

    async def finish(self, turn: FinishedTurn) -> bool:
        """Puts the result into the outbox and removes the job, in one step. False: another worker has the turn.

        Waits for as long as Redis is away: the result exists nowhere else.
        """
        return bool(await self._acknowledge(scripts.FINISH, self.job.workspace, SCHEMA_VERSION, body_of(turn)))

    async def requeue(self, delay_s: float = 0.0) -> None:
        """Lets another worker have the job: at once and in its old position, or after the delay."""
        await self._acknowledge(scripts.REQUEUE, int(delay_s * 1000))

    async def drop(self) -> None:
        """Removes the job: there is nothing to do for this turn."""
        await self._acknowledge(scripts.DROP)

    async def _acknowledge(self, script: Script, *arguments: str | bytes | int) -> Any:
        for pause_s in backoff(FIRST_RETRY_S, LAST_RETRY_S):
            try:
                answer = await self._queue.run_script(script, self.job.turn_id, self.claim_id, *arguments)
            except (RedisError, OSError) as error:
                log.warning("acknowledge_delayed", turn_id=self.job.turn_id, error=type(error).__name__)
                await asyncio.sleep(pause_s)
            else:
                self.acknowledged = True
                return answer
        raise AssertionError("the pauses have no end")
