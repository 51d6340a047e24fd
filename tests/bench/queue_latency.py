"""`python -m tests.bench.queue_latency`: the time from enqueueing a turn to the start of its job, on an idle Redis.

The job itself does nothing: what is measured is arq's queue as `shared/turn_queue/queue.py` changes it. Stock arq
takes 250 ms here.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Final

import uvloop

from deploy.local.stores import start_redis
from shared.contracts.jobs import RunTurn
from shared.ids import new_id
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.queue import TurnQueue
from shared.turn_queue.worker import LeasedWorker
from tests.bench.load import quantile

TIMEOUT_S: Final = 10.0


class Probe:
    """Enqueues one turn at a time and hears when its job starts. Producer and worker have connections of their own."""

    def __init__(self, url: str) -> None:
        self._producer = TurnQueue.connect(url)
        self._consumer = TurnQueue.connect(url)
        self._started: asyncio.Future[float]
        self._worker = LeasedWorker(
            self._consumer, self._run, max_turns=100, lease_s=4.0, drain_s=1.0, job_timeout_s=60.0
        )

    async def _run(self, leased: LeasedJob) -> None:
        started = perf_counter()
        await leased.drop()
        self._started.set_result(started)

    async def latencies(self, count: int) -> list[float]:
        """In seconds. The pauses in between let the worker come to rest, as it is on an idle stack."""
        stop = asyncio.Event()
        serving = asyncio.create_task(self._worker.serve(stop))
        try:
            return [await self._one() for _ in range(count)][1:]  # The first one loads the scripts.
        finally:
            stop.set()
            await serving
            await self._producer.aclose()
            await self._consumer.aclose()

    async def _one(self) -> float:
        await asyncio.sleep(0.02)
        self._started = asyncio.get_running_loop().create_future()
        asked = perf_counter()
        await self._producer.enqueue(RunTurn("bench", new_id("trn"), "agt_bench", 1))
        async with asyncio.timeout(TIMEOUT_S):
            return await self._started - asked


async def measure(count: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        server = await asyncio.to_thread(start_redis, Path(name))
        try:
            return await Probe(server.url).latencies(count)
        finally:
            await asyncio.to_thread(server.stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.queue_latency", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    latencies_ms = [latency * 1000 for latency in uvloop.run(measure(parser.parse_args().count + 1))]
    figures = {f"p{round(part * 100)}": quantile(latencies_ms, part) for part in (0.5, 0.9, 0.99)}
    print(
        f"enqueue -> job start, {len(latencies_ms)} jobs: "
        + ", ".join(f"{name} {figure:.2f} ms" for name, figure in figures.items())
    )


if __name__ == "__main__":
    main()
