"""`make chaos-report`: the fixed runs that REPORT.md consists of, one after the other. About 40 minutes."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.system.chaos.__main__ import main as run_one
from tests.system.chaos.redis_servers import EMBEDDED
from tests.system.chaos.report import drop_runs_but

REPORT: Final = Path(__file__).with_name("REPORT.md")


@dataclass(frozen=True, kw_only=True)
class ReportRun:
    title: str
    seed: int
    minutes: float
    faults: Mapping[str, int]
    redis: str = EMBEDDED


_FAIL_OVERS: Final[Mapping[str, int]] = {
    "fail-over redis": 4,
    "kill redis": 2,
    "stop redis": 2,
    "sleep redis": 1,
    "flush redis": 1,
    "link cut": 8,
    "link black-hole": 4,
    "link mute": 4,
    "kill worker": 4,
    "kill history": 1,
    "kill gateway": 1,
}
# As dense as two cores allow: a Python process takes a second of one of them to start, a service that ends within ten
# seconds of its start is made to wait by the supervisor, and a long turn must find a worker that lives for long
# enough.
RUNS: Final = (
    ReportRun(
        title="Workers and gateways killed, subscriptions cut",
        seed=21,
        minutes=14.0,
        faults={"kill worker": 160, "kill gateway": 50, "cut pubsub": 100},
    ),
    ReportRun(
        title="Services paused, histories and Redis killed, Redis flushed",
        seed=22,
        minutes=11.5,
        faults={
            "stop worker": 66,
            "stop gateway": 18,
            "stop history": 16,
            "kill history": 20,
            "kill redis": 20,
            "flush redis": 10,
            "kill worker": 30,
        },
    ),
    ReportRun(title="Rolling restarts", seed=23, minutes=3.0, faults={"roll services": 5}),
    ReportRun(
        title="Stores down for a second, for five, for a minute",
        seed=24,
        minutes=3.5,
        faults={
            f"down {store} {time}": count
            for store in ("redis", "mongodb")
            for time, count in (("1 s", 2), ("5 s", 2), ("60 s", 1))
        },
    ),
    ReportRun(
        title="Everything at once",
        seed=25,
        minutes=4.0,
        faults={
            "kill worker": 12,
            "kill gateway": 5,
            "kill history": 5,
            "kill redis": 3,
            "kill mongodb": 2,
            "kill ingest": 4,
            "stop ingest": 2,
            "term ingest": 2,
            "stop worker": 6,
            "stop redis": 2,
            "stop mongodb": 2,
            "term worker": 3,
            "term gateway": 3,
            "term history": 3,
            "cut pubsub": 10,
            "cut normal": 8,
            "flush redis": 2,
            "sleep redis": 3,
            "fail mongodb before": 8,
            "fail mongodb after": 8,
            "link cut": 40,
            "link delay": 12,
            "link black-hole": 12,
            "link mute": 16,
        },
    ),
    ReportRun(
        title="Redis 7 behind Sentinel",
        seed=26,
        minutes=2.0,
        faults=_FAIL_OVERS,
        redis="sentinel:redis-server",
    ),
    ReportRun(title="Valkey behind Sentinel", seed=27, minutes=2.0, faults=_FAIL_OVERS, redis="sentinel"),
)


def arguments_of(run: ReportRun, share: float, report: Path, directory: Path) -> list[str]:
    """As for `make chaos`. A `share` of the time has the same share of the faults, so the density stays."""
    faults = [f"{kind}={max(1, round(count * share))}" for kind, count in run.faults.items()]
    own = ["--title", run.title, "--seed", str(run.seed), "--minutes", str(run.minutes * share), "--redis", run.redis]
    return [
        *own,
        "--report",
        str(report),
        "--keep",
        str(directory / run.title.lower().replace(" ", "-")),
        "--faults",
        *faults,
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos-report", description=__doc__)
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the time and of the faults, to try it out (default 1)"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="sections are added or replaced there")
    parser.add_argument(
        "--keep", type=Path, help="directory for the logs and the recorded histories (default: a temporary one)"
    )
    parser.add_argument("titles", nargs="*", help="only the runs whose titles begin like this (default: all)")
    options = parser.parse_args(arguments)
    directory = options.keep or Path(tempfile.mkdtemp(prefix="parley-chaos-report-"))
    chosen = [run for run in RUNS if not options.titles or run.title.startswith(tuple(options.titles))]
    if not options.titles:
        drop_runs_but(options.report, [run.title for run in RUNS])
    failed = 0
    for run in chosen:
        print(f"## {run.title}", flush=True)
        failed += run_one(arguments_of(run, options.share, options.report, directory))
    print(f"{len(chosen) - failed} of {len(chosen)} runs passed; {options.report}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
