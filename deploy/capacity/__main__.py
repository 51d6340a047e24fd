"""`python -m deploy.capacity`: processes for a load, and the limit at each step up to it."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from deploy.capacity.costs import MEASURED, UnitCosts, read_costs
from deploy.capacity.model import Bounds, Load, Step, steps

# Of the goal: four decades.
FACTORS: Final = (0.001, 0.01, 0.1, 0.3, 1.0)
TOO_MUCH: Final = "One queue Redis is not enough for this: divide the workspaces between two installations."


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.capacity", description=__doc__)
    parser.add_argument("--streams", type=_positive, default=1_000_000, help="open streams (default 1,000,000)")
    parser.add_argument("--turns", type=_positive, default=100_000, help="turns a minute (default 100,000)")
    parser.add_argument("--tokens", type=_positive, default=400, help="tokens of a turn (default 400)")
    parser.add_argument("--pace", type=_positive, default=50, help="tokens a second of one turn (default 50)")
    parser.add_argument("--costs", type=Path, default=MEASURED, help="written by tests.bench.unit_costs")
    for name, value in asdict(Bounds()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_positive, default=value, help=f"(default {value:,})")
    parser.add_argument("--json", action="store_true", help="for scripts")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e12:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def planned(options: argparse.Namespace, costs: UnitCosts) -> list[Step]:
    bounds = Bounds(**{name: getattr(options, name) for name in asdict(Bounds())})
    goal = Load(
        streams=round(options.streams),
        turns_per_minute=options.turns,
        tokens_per_turn=options.tokens,
        tokens_per_s=options.pace,
    )
    return steps(costs, goal, bounds, FACTORS)


def table(plan: Sequence[Step]) -> list[str]:
    """Rows of a Markdown table, the header first. A part that there can be only one of is told by its fill."""
    header = ["open streams", "turns a minute", *(need.part for need in plan[0].needs), "full first"]
    rows = [header, ["---"] * len(header)]
    for step in plan:
        cells = [f"{step.load.streams:,}", f"{step.load.turns_per_minute:,.0f}"]
        cells += [f"{need.units:.0%} of one" if need.single else f"{need.count:,}" for need in step.needs]
        cells.append(f"{step.limit.part} by {step.limit.by}, at {step.full_at:,.0f} turns a minute")
        rows.append(cells)
    return [f"| {' | '.join(row)} |" for row in rows]


def as_json(plan: Sequence[Step], costs: UnitCosts) -> str:
    return json.dumps(
        {
            "conditions": costs.conditions,
            "steps": [
                {
                    **asdict(step.load),
                    "needs": {
                        need.part: {"count": need.count, "fill": need.units, "by": need.by} for need in step.needs
                    },
                    "fullFirst": step.limit.part,
                    "fullAtTurnsPerMinute": step.full_at,
                    "possible": step.is_possible,
                }
                for step in plan
            ],
        },
        indent=1,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        costs = read_costs(options.costs)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{options.costs} cannot be read as unit costs: {error}\n")
        return 2
    plan = planned(options, costs)
    if options.json:
        sys.stdout.write(as_json(plan, costs) + "\n")
        return 0
    sys.stdout.write("\n".join([*table(plan), "", f"Unit costs: {costs.conditions}"]) + "\n")
    if not plan[-1].is_possible:
        sys.stdout.write(f"{TOO_MUCH}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
