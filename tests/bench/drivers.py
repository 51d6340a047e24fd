"""The two MongoDB drivers of history: the same load on two stacks, in turns, so that both meet the same machine."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.load import Figures, Load, run_load
from tests.bench.rig import Rig, running_stack
from tests.bench.scenarios import Effort, Row, model_name, wait_until_idle

DRIVERS: Final = ("motor", "pymongo")


async def measure(data: Path, effort: Effort, *, workers: int, gateways: int) -> list[Row]:
    alone = Load(clients=1, turns=20 if effort.quick else 60, tokens=8, spread_s=0.0)
    together = Load(clients=8, turns=10 if effort.quick else 40, tokens=8, spread_s=0.5)
    async with AsyncExitStack() as stacks:
        rigs = dict[str, Rig]()
        for driver in DRIVERS:
            environment = {"PARLEY_MONGODB_DRIVER": driver}
            stack = running_stack(data, workers=workers, gateways=gateways, environment=environment)
            rigs[driver] = await stacks.enter_async_context(stack)
        for driver, rig in rigs.items():
            target = await rig.sessions(model_name(8, 5, 20), 4)
            await run_load(target, Load(clients=4, turns=10, tokens=8, spread_s=0.5), rig.meter, f"warm up {driver}")
            await wait_until_idle(rig)
        return [
            *await _rows(rigs, effort, "one client", alone),
            *await _rows(rigs, effort, f"{together.clients} clients", together),
        ]


async def _rows(rigs: Mapping[str, Rig], effort: Effort, title: str, load: Load) -> list[Row]:
    runs: dict[str, list[Figures]] = {driver: [] for driver in rigs}
    model = model_name(load.tokens, 5, 20)
    for number in range(effort.rounds):
        # Every other round begins with the other one: the second may find a warmer machine.
        for driver in sorted(rigs, reverse=number % 2 == 1):
            target = await rigs[driver].sessions(model, load.clients)
            runs[driver].append(await run_load(target, load, rigs[driver].meter, f"{title} {driver} {number}"))
            await wait_until_idle(rigs[driver])
    return [_row(title, driver, figures, load) for driver, figures in runs.items()]


def _row(title: str, driver: str, runs: list[Figures], load: Load) -> Row:
    turns = load.clients * load.turns
    return {
        "scenario": f"{title}, {load.tokens} tokens, sessions",
        "target": driver,
        "rounds": len(runs),
        "history ms/turn": median(run.cpu_s["history"] for run in runs) / turns * 1000,
        "TTFT ms": median(run.first_s for run in runs) * 1000,
        "TTFT p99 ms": median(run.first_p99_s for run in runs) * 1000,
        "turns/s": median(turns / run.wall_s for run in runs),
    }
