"""This tree beside another checkout of Parley: `make bench ARGS="against --tree DIR"`. Turns of both alternate.

Each tree has a stack of its own, with its own code, and both are up all the time. So whatever else the host does meets
both alike: one run tells about 3 % of a first token, where runs one after the other differ by 15 %.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.bench.load import Figures, Load, run_load
from tests.bench.rig import ROOT, Rig, running_stack
from tests.bench.scenarios import Effort, Row, model_name, wait_until_idle, warm_up
from tests.bench.targets import Target

THIS: Final = "this tree"
OTHER: Final = "the other"
KINDS: Final = ("completions", "sessions")
DIRECT: Final = "direct"
# Each round has all targets, one after the other, and begins with another one.
ROUNDS: Final = 12
QUICK_ROUNDS: Final = 2

Figure = Callable[[Figures, Figures], float]
"""Of a target's run and of the run of the model alone in the same round."""


class Part(NamedTuple):
    title: str
    load: Load
    model: str
    figures: Mapping[str, Figure]


def _first_added_ms(run: Figures, direct: Figures) -> float:
    return 1000 * (run.first_s - direct.first_s)


def _turn_added_ms(run: Figures, direct: Figures) -> float:
    return 1000 * (run.whole_s - direct.whole_s)


def _cpu(run: Figures, direct: Figures) -> float:
    return run.per_1000("gateway", "worker")


def _gap_p99_ms(run: Figures, direct: Figures) -> float:
    return 1000 * run.gap_p99_s


_ONE: Final[Mapping[str, Figure]] = {"TTFT added ms": _first_added_ms, "turn added ms": _turn_added_ms}
_MANY: Final[Mapping[str, Figure]] = {"gateway + worker": _cpu, "gap p99 ms": _gap_p99_ms}
PARTS: Final = (
    Part(
        "one client, first token at 100 ms",
        Load(clients=1, turns=20, tokens=8, spread_s=0),
        model_name(8, 5, 100),
        _ONE,
    ),
    Part("one client, 64 tokens at once", Load(clients=1, turns=20, tokens=64, spread_s=0), model_name(64, 0, 0), _ONE),
    Part(
        "100 clients, 64 tokens at 20 ms",
        Load(clients=100, turns=1, tokens=64, spread_s=1.4),
        model_name(64, 20, 100),
        _MANY,
    ),
)

Runs = dict[tuple[str, str], list[Figures]]
"""By tree and kind, a run for each round."""


async def measure(data: Path, effort: Effort, tree: Path, *, workers: int, gateways: int) -> list[Row]:
    """Both stacks run at the same time; only one of them has load. Raises RuntimeError if one does not come up."""
    async with AsyncExitStack() as stack:
        rigs = dict[str, Rig]()
        for name, root in ((THIS, ROOT), (OTHER, tree.resolve())):
            running = running_stack(data, workers=workers, gateways=gateways, root=root)
            rigs[name] = await stack.enter_async_context(running)
        for rig in rigs.values():
            await warm_up(rig)
            await wait_until_idle(rig)
        rows = list[Row]()
        for part in PARTS:
            rows += rows_of(part, await _runs(rigs, part, QUICK_ROUNDS if effort.quick else ROUNDS))
        return rows


async def _runs(rigs: Mapping[str, Rig], part: Part, rounds: int) -> Runs:
    targets = dict[tuple[str, str], Target]()
    for name, rig in rigs.items():
        targets[name, DIRECT] = rig.direct(part.model)
        targets[name, "completions"] = await rig.completions(part.model)
        targets[name, "sessions"] = await rig.sessions(part.model, part.load.clients)
    runs: Runs = {each: [] for each in targets}
    for number in range(rounds):
        first = number % len(targets)
        for each in [*list(targets)[first:], *list(targets)[:first]]:
            meter = rigs[each[0]].meter
            runs[each].append(await run_load(targets[each], part.load, meter, f"{part.title} {number}"))
    return runs


def rows_of(part: Part, runs: Runs) -> list[Row]:
    """Medians of each tree, and this tree's as a multiple of the other's in the same round: median, least, greatest."""
    rows = list[Row]()
    for kind in KINDS:
        both: dict[str, Row] = {
            name: {"scenario": f"{part.title}, {kind}", "target": name, "rounds": len(runs[name, kind])}
            for name in (THIS, OTHER)
        }
        for title, figure in part.figures.items():
            values = {name: _values(runs, name, kind, figure) for name in both}
            ratios = [mine / theirs for mine, theirs in zip(values[THIS], values[OTHER], strict=True) if theirs]
            for name, row in both.items():
                row[title] = median(values[name])
            both[THIS] |= {
                f"{title}, times the other": median(ratios),
                f"{title}, least": min(ratios),
                f"{title}, greatest": max(ratios),
            }
        rows += both.values()
    return rows


def _values(runs: Runs, name: str, kind: str, figure: Figure) -> list[float]:
    return [figure(run, direct) for run, direct in zip(runs[name, kind], runs[name, DIRECT], strict=True)]
