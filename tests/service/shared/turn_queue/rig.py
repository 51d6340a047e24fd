"""What the tests of the turn queue share: turns, results, a worker, and looks at Redis itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count

from shared.contracts.jobs import RunTurn
from shared.contracts.turns import FinishedTurn
from shared.ids import new_id
from shared.outbox import OUTBOX
from shared.turn_queue import scripts
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE, WAKE
from shared.turn_queue.queue import TurnQueue, decode_job
from shared.turn_queue.worker import LeasedWorker

# Far enough apart for the claims of one call.
_NUMBERS = count(step=1_000)
Run = Callable[[LeasedJob], Awaitable[None]]


def a_turn() -> RunTurn:
    return RunTurn("ws", new_id("trn"), "agt", 1)


def flow_turn(flow: str, weight: int = 1, enqueued_at: int = 0) -> RunTurn:
    return RunTurn("ws", new_id("trn"), "agt", 1, flow, weight, enqueued_at)


async def claimed(queue: TurnQueue, jobs: int, worker: str = "rig") -> list[RunTurn]:
    """Claims so many jobs, as a worker does, and leaves them running for a minute."""
    answer = await queue.run_script(scripts.CLAIM, 60_000, worker, next(_NUMBERS), jobs, "1", 0)
    return [decode_job(payload) for _, payload, *_ in answer]


def result_of(job: RunTurn, attempt: int = 1) -> FinishedTurn:
    return FinishedTurn(
        workspace=job.workspace, turn_id=job.turn_id, attempt=attempt, status="completed", ended_at=datetime.now(UTC)
    )


@asynccontextmanager
async def running_worker(
    redis_url: str, run: Run, *, lease_s: float = 1.0, drain_s: float = 0.2, max_turns: int = 10
) -> AsyncIterator[asyncio.Event]:
    """A worker on a client of its own; set the event to drain it."""
    own, stop = TurnQueue.connect(redis_url), asyncio.Event()
    worker = LeasedWorker(own, run, max_turns=max_turns, lease_s=lease_s, drain_s=drain_s, job_timeout_s=60)
    task = asyncio.create_task(worker.serve(stop))
    try:
        yield stop
    finally:
        stop.set()
        await task
        await own.aclose()


async def keys_of(queue: TurnQueue, turn_id: str) -> list[str]:
    return [key.decode() async for key in queue.scan_iter(f"*{turn_id}*")]


async def outbox(queue: TurnQueue) -> list[bytes]:
    return [fields[b"turn"] for _, fields in await queue.xrange(OUTBOX)]


async def snapshots_in(queue: TurnQueue) -> int:
    return int(await queue.execute_command("HLEN", f"{QUEUE}:snapshots"))


async def tokens_in(queue: TurnQueue) -> int:
    return int(await queue.execute_command("LLEN", WAKE))


async def is_waited_for(queue: TurnQueue) -> bool:
    return any(client["cmd"] == "blpop" for client in await queue.client_list())


async def count_is(queue: TurnQueue, count: int) -> bool:
    return bool(await queue.xlen(OUTBOX) == count)
