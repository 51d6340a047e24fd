"""`make bench` measures a stack and, beside it, the mock model alone. Compare figures of one run only."""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from tests.bench import (
    against,
    bad_keys,
    drivers,
    faces,
    grown,
    lists,
    loader,
    observed,
    readers,
    retrieval,
    scenarios,
    search,
    usage,
)
from tests.bench.report import render, write_json
from tests.bench.rig import in_memory, running_stack
from tests.bench.scenarios import Effort, Row, Scenario

SCENARIOS: Final[dict[str, Scenario]] = {
    "streams": scenarios.streams_100,
    "long-streams": scenarios.streams_100_long,
    "sequential": scenarios.sequential,
    "rate": scenarios.turn_rate,
    "many": scenarios.streams_500,
    "idle": readers.idle_streams,
    "never-reading": readers.never_reading,
    "long-session": scenarios.long_session,
    "agents": grown.agents,
    "lists": lists.lists,
    "bad-keys": bad_keys.bad_keys,
    "faces": faces.faces,
}
# These run only when they are asked for: two grow for minutes before anything is measured, one needs a Chromium.
ON_REQUEST: Final[dict[str, Scenario]] = {"search": search.search, "loader": loader.loader, "usage": usage.usage}
# These start stacks of their own, each with other settings. The drivers are measured only when they are asked for.
OBSERVED: Final = "observed"
WITH_STACKS: Final = {OBSERVED: observed.measure, "drivers": drivers.measure}
# Two trees at once, in stacks of their own.
AGAINST: Final = "against"
QUICK: Final = ("streams", "sequential", "idle")
# Measured without a stack, on data of one's own, and only when it is asked for.
RETRIEVAL: Final = "retrieval"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help=f"of {', '.join((*SCENARIOS, OBSERVED))} (default: these), "
        f"{', '.join(ON_REQUEST)}, drivers, {AGAINST}, or {RETRIEVAL}",
    )
    parser.add_argument(
        "--tree", type=Path, metavar="DIR", help=f"for {AGAINST}: another checkout of Parley, such as one of a release"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"a first impression within a minute: {', '.join(QUICK)}, one round"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken (default 3)")
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--data", type=Path, default=in_memory(), help="where the stores' data go (default: memory, if there is any)"
    )
    parser.add_argument(
        "--questions", type=Path, default=Path("xquad"), help=f"folder of {RETRIEVAL}'s data: a JSON file per language"
    )
    parser.add_argument(
        "--json", type=Path, default=Path(".parley/bench/latest.json"), help="default .parley/bench/latest.json"
    )
    options = parser.parse_args()
    if RETRIEVAL in options.scenarios and len(options.scenarios) > 1:
        parser.error(f"{RETRIEVAL} is measured alone")
    if (AGAINST in options.scenarios) != (options.tree is not None):
        parser.error(f"{AGAINST} and --tree DIR belong together")
    if options.tree is not None and not (options.tree / "deploy" / "local").is_dir():
        parser.error(f"{options.tree} is not a checkout of Parley")
    if unknown := set(options.scenarios) - {*SCENARIOS, *ON_REQUEST, *WITH_STACKS, AGAINST, RETRIEVAL}:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return options


async def measure(options: argparse.Namespace) -> list[Row]:
    effort = Effort(quick=options.quick, rounds=1 if options.quick else options.rounds)
    names = options.scenarios or (QUICK if options.quick else (*SCENARIOS, OBSERVED))
    rows: list[Row] = []
    for name in names:
        counts = {"workers": options.workers, "gateways": options.gateways}
        if name in WITH_STACKS or name == AGAINST:
            part = (
                await against.measure(options.data, effort, options.tree, **counts)
                if name == AGAINST
                else await WITH_STACKS[name](options.data, effort, **counts)
            )
            rows += part
            print(render(part), flush=True)
            continue
        # A stack each: the MongoDB stand-in's writes become slower with all that it holds, and no scenario shall pay
        # for another.
        async with running_stack(options.data, **counts) as rig:
            await scenarios.warm_up(rig)
            await scenarios.wait_until_idle(rig)
            part = await (SCENARIOS | ON_REQUEST)[name](rig, effort)
        rows += part
        print(render(part), flush=True)
    return rows


def facts(options: argparse.Namespace, rows: list[Row], sync_ms: float) -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load before": round(os.getloadavg()[0], 2),
            "sync of the data's disk, ms": round(sync_ms, 3),
        },
        "gateways": options.gateways,
        "workers": options.workers,
        "rows": rows,
    }


def sync_time_ms(directory: Path) -> float:
    """The median of 50 writes of a page: the least that a journaled write takes there."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return sorted(times)[25] * 1000


def main() -> None:
    options = parse()
    if options.scenarios == [RETRIEVAL]:
        write_json(options.json, {"rows": retrieval.measure(options.questions, quick=options.quick)})
        return
    told = facts(options, [], sync_time_ms(options.data))
    print(f"Data in {options.data}. " + ", ".join(f"{name}: {value}" for name, value in told["machine"].items()))
    told["rows"] = uvloop.run(measure(options))
    write_json(options.json, told)
    print(f"\nAlso in {options.json}")


if __name__ == "__main__":
    main()
