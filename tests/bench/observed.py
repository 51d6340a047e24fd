"""What traces and metrics cost: the same load with everything off, with one trace in a hundred, and with all of them.

Each has a stack of its own. A collector and a scraper run in a process of their own, as they would elsewhere.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

from deploy.local.processes import end, free_port, spawn
from tests.bench.load import Figures, Load, run_load
from tests.bench.rig import ROOT, Rig, running_stack
from tests.bench.scenarios import Effort, Row, model_name, wait_until_idle, warm_up

_SAMPLED: Final = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
# By the row's name: the settings beside PARLEY_OTLP_URL; None: neither traces nor scrapes.
KINDS: Final[dict[str, Mapping[str, str] | None]] = {
    "off": None,
    "scraped, traces 1 %": _SAMPLED | {"OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "scraped, traces 100 %": _SAMPLED | {"OTEL_TRACES_SAMPLER_ARG": "1.0"},
}


async def measure(data: Path, effort: Effort, *, workers: int, gateways: int) -> list[Row]:
    rows = list[Row]()
    for kind, settings in KINDS.items():
        async with _observed(data, settings, workers, gateways) as rig:
            await warm_up(rig)
            await wait_until_idle(rig)
            rows += [await _streams(rig, effort, kind), await _turns(rig, effort, kind)]
            rows[-1]["spans sent"] = await rig.spans_sent()
    return [row | _ratio(row, rows) for row in rows]


async def _streams(rig: Rig, effort: Effort, kind: str) -> Row:
    """Long answers: deltas have no spans, so this shows whether a token costs more."""
    load = Load(clients=100, turns=1, tokens=128 if effort.quick else 400, spread_s=2.0)
    return await _row(rig, effort, kind, f"100 streams, {load.tokens} tokens at 20 ms", load, 20)


async def _turns(rig: Rig, effort: Effort, kind: str) -> Row:
    """Short answers: what each turn's spans cost."""
    load = Load(clients=40, turns=5 if effort.quick else 20, tokens=8, spread_s=1.0)
    return await _row(rig, effort, kind, f"40 clients, {load.tokens} tokens at 5 ms", load, 5)


async def _row(rig: Rig, effort: Effort, kind: str, title: str, load: Load, delay_ms: int) -> Row:
    target = await rig.completions(model_name(load.tokens, delay_ms, 20))
    runs: list[Figures] = [
        await run_load(target, load, rig.meter, f"{title} {kind} {number}") for number in range(effort.rounds)
    ]
    row: Row = {"scenario": title, "target": kind, "rounds": effort.rounds}
    row |= {service: median(run.per_1000(service) for run in runs) for service in ("gateway", "worker", "history")}
    row["all three"] = median(run.per_1000("gateway", "worker", "history") for run in runs)
    row["TTFT ms"] = median(run.first_s * 1000 for run in runs)
    return row


def _ratio(row: Row, rows: list[Row]) -> Row:
    off = next(other for other in rows if other["scenario"] == row["scenario"] and other["target"] == "off")
    return {"all three, times off": row["all three"] / off["all three"]}


@asynccontextmanager
async def _observed(data: Path, settings: Mapping[str, str] | None, workers: int, gateways: int) -> AsyncIterator[Rig]:
    if settings is None:
        async with running_stack(data, workers=workers, gateways=gateways) as rig:
            yield rig
        return
    port = free_port()
    environment = {"PARLEY_OTLP_URL": f"http://127.0.0.1:{port}", **settings}
    async with running_stack(data, workers=workers, gateways=gateways, environment=environment) as rig:
        observer = _observer(data, port, rig.metrics_urls)
        try:
            yield rig
        finally:
            end(observer, 5.0)


def _observer(data: Path, port: int, metrics_urls: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.bench.observer", str(port), *metrics_urls]
    name = data / f"parley-bench-observer-{port}"
    return spawn(command, log=name.with_suffix(".log"), pid_file=name.with_suffix(".pid"), env=None, cwd=ROOT)
