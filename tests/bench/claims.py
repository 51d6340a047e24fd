"""`python -m tests.bench.claims`: what a claim costs Redis with 5,000 and with 50,000 waiting turns.

The time is Redis' own (`INFO commandstats`), so the client's load does not count.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Final

import uvloop

from deploy.local.stores import start_redis
from shared.contracts.jobs import RunTurn
from shared.ids import new_id
from shared.turn_queue import scripts
from shared.turn_queue.queue import TurnQueue

CLAIMS: Final = 500
BATCH: Final = 4
AT_ONCE: Final = 500


async def fill(queue: TurnQueue, waiting: int, flows: int) -> None:
    for start in range(0, waiting, AT_ONCE):
        jobs = (RunTurn("bench", new_id("trn"), "agt", 1, f"key{n % flows}") for n in range(start, start + AT_ONCE))
        await asyncio.gather(*(queue.enqueue(job) for job in jobs))


async def claim_us(queue: TurnQueue) -> float:
    """Microseconds of Redis per claimed job."""
    await queue.config_resetstat()
    jobs = 0
    for number in range(CLAIMS):
        arguments = (600_000, "bench", number * BATCH, BATCH, "1", 0)
        jobs += len(await queue.run_script(scripts.CLAIM, *arguments))
    spent = await queue.info("commandstats")
    return float(spent["cmdstat_evalsha"]["usec"]) / jobs


async def measure(waiting: int, flows: int) -> float:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        server = await asyncio.to_thread(start_redis, Path(name))
        queue = TurnQueue.connect(server.url)
        try:
            await fill(queue, waiting, flows)
            return await claim_us(queue)
        finally:
            await queue.aclose()
            await asyncio.to_thread(server.stop)


def main() -> None:
    argparse.ArgumentParser(prog="python -m tests.bench.claims", description=__doc__).parse_args()
    for waiting in (5_000, 50_000):
        for flows in (1, 100):
            print(
                f"{waiting:>6} waiting, {flows:>3} flows: {uvloop.run(measure(waiting, flows)):.1f} us of Redis per job"
            )


if __name__ == "__main__":
    main()
