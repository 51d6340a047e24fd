"""`make chaos-mutants`: plants each bug in turn, lets chaos run on it, and fails when one is not caught in time."""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.system.chaos.knowledge_rules import LATE as KNOWLEDGE_LATE
from tests.system.chaos.mutant_main import MUTANTS
from tests.system.chaos.report import put_section
from tests.system.chaos.run import Plan, Result, run
from tests.system.chaos.told import LATE as EVENTS_LATE

SECONDS: Final = 22.0
LIMIT_S: Final = 90.0
# The faults that each bug is sensitive to; nothing else, so that its catch is no accident.
FAULTS: Final[Mapping[str, Mapping[str, int]]] = {
    "no fence": {"stop worker": 5},
    "no log read after subscribe": {"kill gateway": 2, "link cut": 6},
    "ack before the Mongo write": {"kill history": 8, "stop mongodb": 8},
    "server-made ids": {"cut normal": 6, "link mute": 10},
    "clean end on worker loss": {"kill worker": 4},
    "deletion acknowledged before it is done": {"kill history": 1},
    "erasure leaves the transcript": {"kill history": 1},
    "lost release": {"kill worker": 1},
    "unsupervised loop": {"cut normal": 2},
    "usage billed twice": {"kill worker": 1},
    "use of lost attempts forgotten": {"kill worker": 4},
    "event taken off before its delivery": {"kill history": 6, "fail mongodb before": 10},
    "newest event of a session first": {"kill history": 2},
    "new event id for each attempt": {"kill history": 1},
    "purge leaves the blob": {"kill ingest": 1},
    "purge leaves the index": {"kill ingest": 1},
    "purge is not gone on with": {"kill history": 6},
}
# What authors of knowledge show. The others run without them.
OF_KNOWLEDGE: Final = frozenset({"purge leaves the blob", "purge leaves the index", "purge is not gone on with"})
AUTHORS: Final = 4
CLIENTS_BESIDE: Final = 5  # Few, so that sources are read, and versions published, before they are purged.
LATE: Final = frozenset({"every turn ends", EVENTS_LATE, KNOWLEDGE_LATE})
# The bugs by which turns never end. Of the others, what is late proves nothing: the runs are short, and the machine may
# be slow.
ENDLESS: Final = frozenset({"unsupervised loop"})
# Runs that wait at their end: for turns that never end, or until a reconciler has had time to release reservations or
# to erase knowledge.
WAITING: Final = ENDLESS | OF_KNOWLEDGE | {"lost release"}
WAITING_LIMIT_S: Final = 180.0


def plan_of(mutant: str, seed: int) -> Plan:
    plan = Plan(
        seed=seed,
        authors=0,
        seconds=SECONDS,
        faults=FAULTS[mutant],
        lease_s=2.0,
        think_s=1.0,
        patience_s=8.0,
        mutant=mutant,
    )
    return replace(plan, authors=AUTHORS, clients=CLIENTS_BESIDE) if mutant in OF_KNOWLEDGE else plan


def catch(mutant: str, result: Result) -> Counter[str]:
    """The violations that prove the bug, by rule."""
    return Counter(each.rule for each in result.violations if each.rule not in LATE or mutant in ENDLESS)


def line_of(mutant: str, result: Result) -> str:
    rules = ", ".join(f"{rule} ({count})" for rule, count in catch(mutant, result).most_common())
    return f"| {mutant} | {'caught' if rules else '**NOT CAUGHT**'} | {result.wall_s:.0f} s | {rules} |"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make chaos-mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path(__file__).with_name("REPORT.md"))
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MUTANTS)} (default: all)")
    options = parser.parse_args(arguments)
    lines = ["| planted bug | | wall | by which rules (violations) |", "| --- | --- | --- | --- |"]
    missed = 0
    print("\n".join(lines), flush=True)
    for mutant in options.names or MUTANTS:
        result = asyncio.run(run(plan_of(mutant, options.seed), Path(tempfile.mkdtemp(prefix="parley-mutant-"))))
        missed += not catch(mutant, result) or result.wall_s > (WAITING_LIMIT_S if mutant in WAITING else LIMIT_S)
        lines.append(line_of(mutant, result))
        print(lines[-1], flush=True)
    if not options.names:
        title = f"Planted bugs, seed {options.seed}"
        put_section(
            options.report,
            title,
            f"## {title}\n\nEach within {LIMIT_S:.0f} s; {WAITING_LIMIT_S:.0f} s for those that wait at their end.\n\n"
            + "\n".join(lines)
            + "\n",
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
