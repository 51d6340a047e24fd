"""`python -m tests.bench.unit_costs FILE`: what a turn, a token and an open stream cost here, for `deploy.capacity`.

The same load with short and with long turns gives two points for each part's CPU time: a line through them has the cost
of a turn and of a token. The run logs are on a Redis of their own, so that the queue's part is told from the streams'.
"""

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import bson
import orjson
import uvloop
from prometheus_client.parser import text_string_to_metric_families
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from deploy.capacity.costs import Processor, UnitCosts
from deploy.local.stores import Server, redis_store
from tests.bench.load import Load, run_load
from tests.bench.processes import cpu_s, loop_ms
from tests.bench.readers import idle_streams
from tests.bench.rig import Rig, get_body, in_memory, running_stack
from tests.bench.scenarios import Effort, model_name, wait_until_idle, warm_up
from tests.bench.targets import Address

SHORT, LONG = 32, 400
IDLE_S: Final = 5.0
# MongoDB's operations that change documents, by the names of the store's metric.
WRITES: Final = ("insert", "update", "delete", "replace", "modify", "bulk")


@dataclass(frozen=True)
class _Cost:
    """Of one turn of so many tokens: CPU seconds by part, and MongoDB's operations by kind."""

    tokens: int
    cpu_s: Mapping[str, float]
    writes: float
    reads: float
    log_bytes: float


async def _operations(rig: Rig) -> tuple[float, float]:
    """Writes and reads of MongoDB since the start, over all processes."""
    writes = reads = 0.0
    for url in rig.metrics_urls:
        text = (await get_body(Address.of(url.removesuffix("/metrics")), "/metrics")).decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples if family.name == "parley_store_seconds" else ():
                if not sample.name.endswith("_count") or sample.labels["store"] != "mongodb":
                    continue
                if any(word in sample.labels["operation"].lower() for word in WRITES):
                    writes += sample.value
                else:
                    reads += sample.value
    return writes, reads


async def _idle_rates(rig: Rig) -> tuple[float, float]:
    """Writes and reads in a second without any load: history looks for lost turns and waits for orders."""
    before, began = await _operations(rig), time.monotonic()
    await asyncio.sleep(IDLE_S)
    after, wall_s = await _operations(rig), time.monotonic() - began
    return (after[0] - before[0]) / wall_s, (after[1] - before[1]) / wall_s


async def _measured(rig: Rig, streams: Server, clients: int, tokens: int, number: int) -> _Cost:
    load = Load(clients=clients, turns=3 if tokens == SHORT else 1, tokens=tokens, spread_s=2.0)
    target = await rig.sessions(model_name(tokens, 20, 100), clients)
    await wait_until_idle(rig)
    rates = await _idle_rates(rig)
    async with Redis.from_url(streams.url) as redis:
        memory, before, began = await _memory_of(redis), await _operations(rig), time.monotonic()
        used = cpu_s(streams.pid)
        figures = await run_load(target, load, rig.meter, f"unit costs {tokens} {number}")
        stream_cpu = cpu_s(streams.pid) - used
        # What follows a turn's end, such as its line in the ledger, belongs to it.
        await wait_until_idle(rig)
        after, wall_s = await _operations(rig), time.monotonic() - began
        grown = await _memory_of(redis) - memory
    turns = clients * load.turns
    cpu = {name: seconds / turns for name, seconds in {**figures.cpu_s, "streams": stream_cpu}.items()}
    writes, reads = ((after[kind] - before[kind] - rates[kind] * wall_s) / turns for kind in (0, 1))
    return _Cost(tokens, cpu, writes, reads, grown / turns)


async def _memory_of(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


def _line(costs: list[_Cost], part: str) -> Processor:
    """Through the medians of the short and of the long turns. A slope or start below 0 is noise."""
    short, long = (median(cost.cpu_s[part] for cost in costs if cost.tokens == tokens) for tokens in (SHORT, LONG))
    token_s = max(0.0, (long - short) / (LONG - SHORT))
    return Processor(turn_ms=round(max(0.0, short - SHORT * token_s) * 1e3, 3), token_us=round(token_s * 1e6, 2))


async def _document_kib(rig: Rig, turns: int) -> float:
    """The mean size of the last turns in MongoDB."""
    async with AsyncMongoClient[dict[str, Any]](rig.mongodb_uri) as client:
        rows = await client["parley"]["turns"].find({}).sort("_id", -1).limit(turns).to_list()
    return mean(len(bson.encode(row)) for row in rows) / 1024


async def measure(data: Path, clients: int, rounds: int) -> UnitCosts:
    with tempfile.TemporaryDirectory(prefix="parley-streams-", dir=data) as directory:
        streams = await asyncio.to_thread(redis_store(Path(directory)).start)
        try:
            async with running_stack(data, environment={"PARLEY_STREAM_REDIS_URLS": streams.url}) as rig:
                return await _costs(rig, streams, clients, rounds)
        finally:
            await asyncio.to_thread(streams.stop)


async def _costs(rig: Rig, streams: Server, clients: int, rounds: int) -> UnitCosts:
    await warm_up(rig)
    speed = loop_ms()
    costs = [
        await _measured(rig, streams, clients, tokens, number) for number in range(rounds) for tokens in (SHORT, LONG)
    ]
    document_kib = await _document_kib(rig, clients)
    (idle,) = await idle_streams(rig, Effort(quick=True, rounds=1))
    long = [cost for cost in costs if cost.tokens == LONG]
    return UnitCosts(
        conditions=(
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores for everything, Python "
            f"{platform.python_version()}, {clients} clients on sessions with {SHORT} and {LONG} tokens at 20 ms, "
            f"medians of {rounds} rounds; load before {os.getloadavg()[0]:.1f}, a fixed loop {speed:.2f} ms"
        ),
        gateway=_line(costs, "gateway"),
        worker=_line(costs, "worker"),
        history=_line(costs, "history"),
        queue_redis=_line(costs, "redis"),
        stream_redis=_line(costs, "streams"),
        stream_kib=round(idle["KiB per stream"], 1),
        stream_us_s=round(idle["heartbeats, cores of the gateway"] * 1e6 / 1000, 1),
        log_kib=round(median(cost.log_bytes for cost in long) / 1024, 1),
        writes_per_turn=round(median(cost.writes for cost in long), 2),
        reads_per_turn=round(median(cost.reads for cost in long), 2),
        document_kib=round(document_kib, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.unit_costs", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=in_memory(), help="where the stores' data go")
    options = parser.parse_args()
    costs = uvloop.run(measure(options.data, options.clients, options.rounds))
    options.file.write_bytes(orjson.dumps(costs.wire(), option=orjson.OPT_INDENT_2) + b"\n")
    print(options.file.read_text())


if __name__ == "__main__":
    main()
