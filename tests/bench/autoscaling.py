"""`python -m tests.bench.autoscaling`: the chart's formula drives local workers while a step of load comes and goes.

A stack has one worker of few turns. Every two seconds the workers' metrics are scraped, as Prometheus does, and the
HPA's formula is applied to the chart's triggers with targets that fit these small workers: `oldest` is a Value, workers
times age over target; `waiting` and `running` are AverageValues, their sum over target. Workers are started and stopped
(SIGTERM) as the formula says. Pauses are shorter than in the chart, so that a run takes two minutes.

At the end every turn must have ended as it should: none failed, none begun a second time.
"""

import argparse
import asyncio
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from deploy.local.processes import free_port
from tests.system.stack import ROOT, Client, Stack, Transcript

MAX_TURNS: Final = 8
TOKENS: Final = 20
MODEL: Final = f"scripted/tokens={TOKENS},delay=200,text=echo"
DEMANDS: Final = {"oldest": 2.0, "waiting": 16.0, "running": 0.7 * MAX_TURNS}
TICK_S: Final = 2.0
# The chart's are 300 s and 60 s.
STABLE_S: Final = 10.0
LARGEST: Final = 6
NAMES: Final = {
    "oldest": "parley_queue_oldest_seconds",
    "waiting": "parley_queue_waiting",
    "running": "parley_turns_running",
}


def desired(workers: int, seen: dict[str, float]) -> int:
    """The HPA takes the greatest of what the triggers ask for; a ratio within a tenth of 1 changes nothing."""
    ratio = seen["oldest"] / DEMANDS["oldest"]
    by_age = workers if abs(ratio - 1) <= 0.1 else math.ceil(workers * ratio)
    by_sum = [math.ceil(seen[name] / DEMANDS[name]) for name in ("waiting", "running")]
    return min(LARGEST, max(1, by_age, *by_sum))


@dataclass
class Moment:
    at_s: float
    oldest_s: float
    waiting: float
    running: float
    workers: int
    ended: int


class Workers:
    """Those beside the stack's own first one."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        facts = stack.facts
        self._directory = directory
        self._first = facts["metrics"]["worker"][0]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")},
            "PARLEY_INTERNAL_TOKEN": facts["internalToken"],
            "PARLEY_QUEUE_REDIS_URL": facts["redisUrl"],
            "PARLEY_HISTORY_URL": ",".join(facts["historyUrls"]),
            "PARLEY_MODEL_BASE_URL": f"{facts['modelUrl']}/v1",
            "PARLEY_MAX_TURNS": str(MAX_TURNS),
        }
        self.running = list[tuple[asyncio.subprocess.Process, str]]()
        self._stopping = list[asyncio.subprocess.Process]()

    @property
    def count(self) -> int:
        return 1 + len(self.running)

    async def scale(self, count: int) -> None:
        while self.count < count:
            port = free_port()
            with (self._directory / f"worker-{port}.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "services.agent_worker", cwd=ROOT, stdout=log, stderr=log,
                    env={**self._environment, "PARLEY_PORT": str(port)},
                )  # fmt: skip
            self.running.append((process, f"http://127.0.0.1:{port}/metrics"))
        while self.count > count:
            process, _ = self.running.pop()
            process.send_signal(signal.SIGTERM)
            self._stopping.append(process)

    async def scraped(self, http: aiohttp.ClientSession) -> dict[str, float]:
        """A worker that does not answer yet has no series."""
        found: dict[str, list[float]] = {name: [0.0] for name in NAMES}
        for url in [self._first, *(url for _, url in self.running)]:
            try:
                async with http.get(url) as answer:
                    text = await answer.text()
            except aiohttp.ClientError:
                continue
            for name, metric in NAMES.items():
                found[name] += [float(value) for value in re.findall(rf"(?m)^{metric} (\S+)$", text)]
        return {"oldest": max(found["oldest"]), "waiting": max(found["waiting"]), "running": sum(found["running"])}

    async def stop(self) -> None:
        await self.scale(1)
        for process in self._stopping:
            await process.wait()


class Load:
    """Questions at an even rate, each in a session of its own, and how their streams ended."""

    def __init__(self, client: Client, agent_id: str) -> None:
        self._client = client
        self._agent_id = agent_id
        self._sessions = list[str]()
        self._tasks = set[asyncio.Task[None]]()
        self.ends = list[Transcript]()

    async def open(self, count: int) -> None:
        """Sessions before the step, so that the load is turns alone."""
        self._sessions = [await self._client.session(self._agent_id) for _ in range(count)]

    async def _ask(self, number: int) -> None:
        session_id = self._sessions[number]
        self.ends.append(await self._client.ask(session_id, f"question {number}"))

    async def step(self, per_s: float) -> None:
        for number in range(len(self._sessions)):
            self._tasks.add(asyncio.create_task(self._ask(number)))
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*self._tasks)


async def drive(workers: Workers, load: Load, asked: "asyncio.Task[None]", http: aiohttp.ClientSession) -> list[Moment]:
    began, moments, wanted_at = time.monotonic(), list[Moment](), list[tuple[float, int]]()
    while not asked.done() or workers.count > 1:
        await asyncio.sleep(TICK_S)
        now, seen = time.monotonic() - began, await workers.scraped(http)
        wanted_at = [(at, count) for at, count in wanted_at if at > now - STABLE_S]
        wanted_at.append((now, desired(workers.count, seen)))
        if wanted_at[-1][1] > workers.count:
            await workers.scale(wanted_at[-1][1])
        elif (most := max(count for _, count in wanted_at)) < workers.count:
            # One at a time, and never below what was wanted within the stabilisation window.
            await workers.scale(max(most, workers.count - 1))
        moment = Moment(now, seen["oldest"], seen["waiting"], seen["running"], workers.count, len(load.ends))
        moments.append(moment)
        print(
            f"{now:6.1f} s  oldest {moment.oldest_s:5.1f} s  waiting {moment.waiting:4.0f}  "
            f"running {moment.running:3.0f}  workers {moment.workers}  ended {moment.ended}",
            flush=True,
        )
    return moments


def verdict(load: Load, moments: list[Moment]) -> dict[str, Any]:
    return {
        "turns": len(load.ends),
        "failed": sum(told.end is None or told.end.event != "done" for told in load.ends),
        "restarted": sum("restarted" in told.events() for told in load.ends),
        "most_workers": max(moment.workers for moment in moments),
        "workers_at_end": moments[-1].workers,
        "oldest_s": max(moment.oldest_s for moment in moments),
    }


async def measure(per_s: float, seconds: float, file: Path) -> bool:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        stack = Stack.start(directory, "--workers", "1", environment={"PARLEY_MAX_TURNS": str(MAX_TURNS)})
        workers = Workers(stack, directory)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
                client = Client(http, stack.facts["gateways"][0], stack.facts["secretKey"])
                load = Load(client, await stack.publish(MODEL))
                await load.open(int(per_s * seconds))
                asked = asyncio.create_task(load.step(per_s))
                moments = await drive(workers, load, asked, http)
                await asked
            found = verdict(load, moments)
            print(json.dumps(found), flush=True)
        finally:
            await workers.stop()
            stack.stop()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"moments": [vars(moment) for moment in moments], **found}))
    return bool(found["failed"] == found["restarted"] == 0 and found["most_workers"] == LARGEST)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.autoscaling", description=__doc__)
    parser.add_argument("--rate", type=float, default=7.5, help="turns a second in the step, default 7.5")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the step is, seconds, default 20")
    parser.add_argument("--json", type=Path, default=Path(".parley/bench/autoscaling.json"))
    given = parser.parse_args()
    sys.exit(0 if asyncio.run(measure(given.rate, given.seconds, given.json)) else 1)


if __name__ == "__main__":
    main()
