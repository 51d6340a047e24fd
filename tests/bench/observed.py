"""What traces and metrics cost: the same load with everything off, with one trace in a hundred, and with all of them.

Each has a stack of its own. A collector and a scraper run in a process of their own, as they would elsewhere. It takes
about three minutes and prints how far the rounds agree: where `least` and `greatest` lie far apart, the host was busy.
"""

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

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


# Each round has all kinds one after the other, and the next one begins with another kind: what the host does meanwhile
# meets them alike. A kind is compared with `off` of the same round.
ROUNDS: Final = 5
QUICK_ROUNDS: Final = 2
FIRST: Final = "off"
_ALL: Final = ("gateway", "worker", "history")


class Scenario(NamedTuple):
    title: str
    load: Load
    delay_ms: int


# Long answers: deltas have no spans, so this shows whether a token costs more. Short ones: what each turn's spans cost.
SCENARIOS: Final = (
    Scenario("100 streams, 200 tokens at 20 ms", Load(clients=100, turns=1, tokens=200, spread_s=1.0), 20),
    Scenario("40 clients, 15 turns of 8 tokens at 5 ms", Load(clients=40, turns=15, tokens=8, spread_s=1.0), 5),
)


async def measure(data: Path, effort: Effort, *, workers: int, gateways: int) -> list[Row]:
    """All stacks run at the same time; only one of them has load."""
    async with AsyncExitStack() as stack:
        rigs = {
            kind: await stack.enter_async_context(_observed(data, settings, workers, gateways))
            for kind, settings in KINDS.items()
        }
        for rig in rigs.values():
            await warm_up(rig)
            await wait_until_idle(rig)
        rows = list[Row]()
        for scenario in SCENARIOS:
            rows += rows_of(scenario.title, await _rounds(rigs, scenario, effort))
        for row in rows:
            if row["target"] != FIRST:
                row["spans sent in all"] = await rigs[row["target"]].spans_sent()
        return rows


async def _rounds(rigs: Mapping[str, Rig], scenario: Scenario, effort: Effort) -> dict[str, list[Figures]]:
    model = model_name(scenario.load.tokens, scenario.delay_ms, 20)
    targets = {kind: await rig.completions(model) for kind, rig in rigs.items()}
    runs: dict[str, list[Figures]] = {kind: [] for kind in rigs}
    for number in range(QUICK_ROUNDS if effort.quick else ROUNDS):
        for kind in _turned(list(rigs), number):
            label = f"{scenario.title} {kind} {number}"
            runs[kind].append(await run_load(targets[kind], scenario.load, rigs[kind].meter, label))
    return runs


def _turned(kinds: list[str], number: int) -> list[str]:
    first = number % len(kinds)
    return kinds[first:] + kinds[:first]


def rows_of(title: str, runs: Mapping[str, Sequence[Figures]]) -> list[Row]:
    """A row for each kind: medians, and the ratios to `off` of the same rounds with the least and the greatest."""
    rows = list[Row]()
    for kind, figures in runs.items():
        row: Row = {"scenario": title, "target": kind, "rounds": len(figures)}
        row |= {service: median(run.per_1000(service) for run in figures) for service in _ALL}
        row["all three"] = median(run.per_1000(*_ALL) for run in figures)
        ratios = [run.per_1000(*_ALL) / off.per_1000(*_ALL) for run, off in zip(figures, runs[FIRST], strict=True)]
        row["all three, times off"] = median(ratios)
        row["least"], row["greatest"] = min(ratios), max(ratios)
        row["TTFT ms"] = median(run.first_s * 1000 for run in figures)
        rows.append(row)
    return rows


@asynccontextmanager
async def _observed(data: Path, settings: Mapping[str, str] | None, workers: int, gateways: int) -> AsyncIterator[Rig]:
    if settings is None:
        async with running_stack(data, workers=workers, gateways=gateways) as rig:
            yield rig
        return
    port = free_port()
    environment = {"PARLEY_OTLP_URL": f"http://127.0.0.1:{port}", **settings}
    running = running_stack(data, workers=workers, gateways=gateways, environment=environment)
    with tempfile.TemporaryDirectory(prefix="parley-bench-observer-") as logs:
        async with running as rig:
            observer = _observer(Path(logs), port, rig.metrics_urls)
            try:
                yield rig
            finally:
                end(observer, 5.0)


def _observer(logs: Path, port: int, metrics_urls: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.bench.observer", str(port), *metrics_urls]
    return spawn(command, log=logs / "observer.log", pid_file=logs / "observer.pid", env=None, cwd=ROOT)
