"""Load on one target: many clients with several turns each, or one client alone. What is counted is counted here."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.processes import Meter, difference
from tests.bench.rig import open_wires
from tests.bench.targets import Reading, Target, read
from tests.bench.wire import Answer, Wire


@dataclass(frozen=True, kw_only=True)
class Load:
    """`clients` ask `turns` questions each, one after the other; they begin spread over `spread_s`."""

    clients: int
    turns: int
    tokens: int
    spread_s: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run. Times are in seconds; `cpu_s` per service over the run."""

    wall_s: float
    tokens: int
    first_s: float
    first_p99_s: float
    whole_s: float
    gap_p50_s: float
    gap_p99_s: float
    cpu_s: dict[str, float]
    busiest: str = ""
    readings: list[Reading] = field(default_factory=list, repr=False)

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s

    def per_1000(self, *services: str) -> float:
        """CPU seconds per 1,000 tokens."""
        return sum(self.cpu_s[name] for name in services) / self.tokens * 1000


async def run_load(target: Target, load: Load, meter: Meter, label: str) -> Figures:
    """Every token of every answer is checked, after the clocks have stopped. Raises BadAnswer."""
    wires = await open_wires(target.address, load.clients)
    loop = asyncio.get_running_loop()
    before, each, started = meter.cpu(), meter.each(), loop.time()
    heard = await asyncio.gather(*(_client(target, load, wire, number, label) for number, wire in enumerate(wires)))
    wall_s, cpu = loop.time() - started, difference(before, meter.cpu())
    busiest = meter.busiest(each, wall_s)
    for wire in wires:
        wire.close()
    readings = [
        read(target, answer, question(label, number, turn), load.tokens)
        for number, answers in enumerate(heard)
        for turn, answer in enumerate(answers)
    ]
    return figures_of(readings, wall_s, cpu, busiest)


def question(label: str, client: int, turn: int) -> str:
    """Told apart everywhere, so that a token of another's answer is found."""
    return f"{label} {client} {turn}?"


async def _client(target: Target, load: Load, wire: Wire, number: int, label: str) -> list[Answer]:
    await asyncio.sleep(load.spread_s * number / load.clients)
    return [await wire.ask(target.request(number, question(label, number, turn))) for turn in range(load.turns)]


def figures_of(readings: list[Reading], wall_s: float, cpu_s: dict[str, float], busiest: str = "") -> Figures:
    gaps = [gap for reading in readings for gap in reading.gaps_s]
    firsts = [reading.first_s for reading in readings]
    return Figures(
        wall_s=wall_s,
        tokens=sum(reading.tokens for reading in readings),
        first_s=median(firsts),
        first_p99_s=quantile(firsts, 0.99),
        whole_s=median(reading.whole_s for reading in readings),
        gap_p50_s=quantile(gaps, 0.5),
        gap_p99_s=quantile(gaps, 0.99),
        cpu_s=cpu_s,
        busiest=busiest,
        readings=readings,
    )


def quantile(values: Sequence[float], part: float) -> float:
    """The value that `part` of the values do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
