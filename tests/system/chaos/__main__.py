"""`make chaos ARGS="--seed 7 --minutes 10"`: one run that prints its table and its seed."""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.local.supervisor import StartError
from tests.programs import program_path
from tests.system.chaos.redis_servers import EMBEDDED, RedisChoice
from tests.system.chaos.report import table, write_report
from tests.system.chaos.run import Plan, Result, run

# For ten minutes on two cores, where a start of a Python process costs about a second; scaled with the minutes.
USUAL: Final[Mapping[str, int]] = {
    "kill worker": 40,
    "kill gateway": 12,
    "kill history": 8,
    "kill redis": 5,
    "kill mongodb": 3,
    "stop worker": 20,
    "stop gateway": 5,
    "stop history": 5,
    "stop redis": 3,
    "stop mongodb": 3,
    "term worker": 8,
    "term gateway": 6,
    "term history": 4,
    "cut pubsub": 20,
    "cut normal": 10,
    "flush redis": 5,
    "sleep redis": 4,
    "fail mongodb before": 12,
    "fail mongodb after": 12,
    "link cut": 40,
    "link delay": 14,
    "link black-hole": 14,
    "link mute": 20,
    "down redis 1 s": 2,
    "down redis 5 s": 2,
    "down mongodb 1 s": 2,
    "down mongodb 5 s": 2,
    "kill ingest": 8,
    "stop ingest": 3,
    "term ingest": 3,
}

# Instead of outages of the one server: behind Sentinel another one takes over.
BEHIND_SENTINEL: Final[Mapping[str, int]] = {"down redis 1 s": 0, "down redis 5 s": 0, "fail-over redis": 8}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeat a schedule (default: any)")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults are injected (default 5)")
    parser.add_argument(
        "--faults", nargs="*", default=[], metavar="KIND=COUNT", help='instead of the usual mixture: "kill worker=20"'
    )
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--lease", type=float, default=4.0, help="PARLEY_LEASE_S of the run (default 4)")
    parser.add_argument(
        "--think", type=float, default=2.0, help="longest pause of a client between two turns, seconds (default 2)"
    )
    parser.add_argument(
        "--redis",
        default=EMBEDDED,
        metavar="PROGRAM",
        help="instead of the embedded Valkey: a server program (redis-server), `sentinel` or `sentinel:PROGRAM`",
    )
    parser.add_argument("--title", default="", help="what the report calls this run")
    parser.add_argument(
        "--report",
        type=Path,
        help="a file in which a section is added or replaced (`make chaos-report` writes REPORT.md)",
    )
    parser.add_argument(
        "--keep", type=Path, help="directory for the logs and the recorded history (default: a temporary one)"
    )
    parser.add_argument(
        "--prometheus",
        action="store_true",
        help="a real Prometheus watches, with the alert rules at a tenth of their durations; tells what fired",
    )
    options = parser.parse_args(arguments)
    if options.prometheus and program_path("prometheus") is None:
        parser.error("prometheus is not installed. Debian and Ubuntu: apt-get install prometheus")
    return options


def faults_of(options: argparse.Namespace) -> dict[str, int]:
    if options.faults:
        pairs = [text.rpartition("=") for text in options.faults]
        return {kind: int(count) for kind, _, count in pairs}
    instead = BEHIND_SENTINEL if RedisChoice.parse(options.redis).watched else {}
    usual = {**USUAL, **instead}
    return {kind: max(1, round(count * options.minutes / 10)) for kind, count in usual.items() if count}


def execute(options: argparse.Namespace, directory: Path) -> Result:
    seed = options.seed if options.seed is not None else random.randrange(2**31)
    print(f"seed {seed}; logs in {directory}", flush=True)
    plan = Plan(
        seed=seed,
        seconds=options.minutes * 60,
        faults=faults_of(options),
        clients=options.clients,
        lease_s=options.lease,
        think_s=options.think,
        redis=RedisChoice.parse(options.redis),
        prometheus=program_path("prometheus") if options.prometheus else None,
    )
    result = asyncio.run(run(plan, directory))
    result.history.write(directory / "history.jsonl")
    return result


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    directory = options.keep or Path(tempfile.mkdtemp(prefix="parley-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        result = execute(options, directory)
    except StartError as error:
        print(error)
        return 1
    print(table(result))
    if options.report is not None:
        write_report(options.report, options.title or f"seed {result.plan.seed}", result)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
