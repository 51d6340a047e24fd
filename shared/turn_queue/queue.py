"""The turn queue's client: enqueue, look at and remove jobs. Workers claim and run them in `worker.py`.

What arq does here: `ArqRedis` is the client class, `serialize_job` and `deserialize_job_raw` are the form of a job, and
a job lies under arq's key. So arq's own tools can read the queue's jobs. Leases, claims, requeueing and the worker are
Parley's: the Lua scripts in `lua/`, which run each step atomically.

Waiting jobs are dealt to their flows (usually the caller's key) in turn, by weight; within a flow the oldest is first.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, Self

import orjson
from arq.connections import ArqRedis
from arq.jobs import DeserializationError, deserialize_job_raw, serialize_job
from arq.utils import timestamp_ms

from shared.broker.client import DirectCommands
from shared.broker.connections import ConnectionSet
from shared.broker.redis_py import connection_pool
from shared.broker.script import Script
from shared.contracts.jobs import DEFAULT_FLOW, RunTurn, UndecodableJob
from shared.outbox import GROUP
from shared.turn_queue import scripts
from shared.turn_queue.keys import CONTROL, KEYS, QUEUE

RUN_TURN: Final = "run_turn"
JobStatus = Literal["finished", "held", "alone"]

# Longer than any worker may hold a turn. Until then a paused worker may come back and ask for the ended turn's lease.
ENDED_MARK_MS: Final = 3_600_000


def encode_job(job: RunTurn) -> bytes:
    return serialize_job(RUN_TURN, (), job.members(), None, timestamp_ms(), serializer=_dump)


def decode_job(payload: bytes) -> RunTurn:
    """Raises UndecodableJob."""
    try:
        members: tuple[Any, ...] = deserialize_job_raw(payload, deserializer=orjson.loads)
    except DeserializationError:
        raise UndecodableJob("not a job of arq") from None
    function, positional, named, _, _ = members
    if function != RUN_TURN or not isinstance(positional, list) or not isinstance(named, dict):
        raise UndecodableJob("another function, or members of another form")
    return RunTurn.parse(positional, named)


def _dump(job: dict[str, Any]) -> bytes:
    return orjson.dumps(job)


class TurnQueue(DirectCommands, ArqRedis):  # type: ignore[misc]  # redis-py's own stubs disagree with each other.
    """Each method is one round trip.

    It raises RedisError or OSError while the queue Redis is away, and may be repeated.
    """

    url: str

    @classmethod
    def connect(cls, url: str) -> Self:
        """Connects at the first command."""
        pool = connection_pool(url)
        queue = cls(pool, job_serializer=_dump, job_deserializer=orjson.loads, default_queue_name=QUEUE)
        queue.connections = ConnectionSet(pool)
        queue.url = url
        return queue

    async def run_script(self, script: Script, *arguments: str | bytes | int) -> Any:
        """The answer of one of the queue's scripts."""
        return await script.run(self.connections.call, KEYS, arguments)

    async def enqueue(self, job: RunTurn, snapshot: str | None = None) -> int:
        """How many jobs wait before it. A turn that has a job, or whose result is in the outbox, is left as it is.

        `snapshot`: what a claim of the turn as it was admitted would answer, for the job's first claim.
        """
        arguments = (encode_job(job), snapshot or "", job.flow or DEFAULT_FLOW, job.weight, job.enqueued_at)
        return int(await self.run_script(scripts.ENQUEUE, job.turn_id, *arguments))

    async def position(self, turn_id: str) -> int | None:
        """How many jobs wait before it; None when it does not wait.

        An estimate where flows have different weights: it counts as if all had the same.
        """
        before = await self.run_script(scripts.POSITION, turn_id)
        return None if before is None else int(before)

    async def holder(self, turn_id: str) -> str | None:
        """The claim id that holds the turn's unexpired lease."""
        holder = await self.run_script(scripts.HOLDER, turn_id)
        return holder.decode() if holder else None

    async def job_status(self, turn_id: str) -> JobStatus:
        """Whether a result waits in the outbox, a live lease is held, or neither.

        To end a turn in a worker's place, read its document first and call this after. In the other order a worker
        could finish in between, and its result, already in the outbox, would be overruled.
        """
        job_status: JobStatus = (await self.run_script(scripts.STATUS, turn_id)).decode()
        return job_status

    async def missing(self, turn_ids: Sequence[str]) -> list[str]:
        """Those of the turns that have neither a job nor a result in the outbox."""
        if not turn_ids:
            return []
        return [turn_id.decode() for turn_id in await self.run_script(scripts.MISSING, *turn_ids)]

    async def acknowledge(self, entry_id: bytes, turn_id: str) -> None:
        """Removes an outbox entry that has been dealt with, and the turn's marker."""
        await self.run_script(scripts.ACKNOWLEDGE, GROUP, entry_id, turn_id)

    async def forget(self, turn_id: str) -> None:
        """Removes the job of a turn that history has ended. The worker that ran it cannot restore its lease."""
        await self.run_script(scripts.FORGET, turn_id, ENDED_MARK_MS)

    async def signal_cancel(self, turn_id: str) -> None:
        """Tells the worker that runs the turn to cancel it. The reconciler repeats a signal that is lost."""
        await self.publish(CONTROL, turn_id)

    async def backlog(self) -> tuple[int, float]:
        """The number of waiting jobs, and for how long the oldest has waited, in seconds."""
        count, age_ms = await self.run_script(scripts.BACKLOG)
        return int(count), int(age_ms) / 1000
