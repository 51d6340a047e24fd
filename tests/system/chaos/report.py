"""What a run is told as: a table for the terminal, and a section of REPORT.md."""

import os
import platform
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.system.chaos.events import Accepted, Answered, Chunked, Closed, Frame, Opened, Refused, Stored
from tests.system.chaos.run import Result
from tests.system.chaos.take_overs import take_overs

HEAD: Final = """# Chaos runs

Written by `make chaos`; each section is one run, with the seed that repeats its schedule. Two gateways, three workers, two
histories, a real Valkey (AOF everysec) and the MongoDB stand-in on one machine, behind links that can be cut; the clients, the
supervisor and the links share that machine's cores. What is counted as a violation stands in `checker.py`.
"""
TOGETHER: Final = "## Together\n"
SHOWN: Final = 20


def facts(result: Result) -> list[tuple[str, str]]:
    """What happened, as rows."""
    events = result.history.events
    stored = [event for event in events if isinstance(event, Stored)]
    statuses = Counter(event.status for event in stored)
    reruns = sum(event.attempt > 1 for event in stored)
    resumes = sum(isinstance(event, Opened) and event.after is not None for event in events)
    closed = Counter(event.how for event in events if isinstance(event, Closed))
    restarts = sum(isinstance(event, Frame) and event.event == "restarted" for event in events)
    answers = sum(isinstance(event, Answered) for event in events)
    chunked = [event for event in events if isinstance(event, Chunked)]
    refused = Counter(event.status for event in events if isinstance(event, Refused))
    accepted = len({event.turn for event in events if isinstance(event, Accepted)})
    rows = [
        ("seed", str(result.plan.seed)),
        ("faults during", f"{result.plan.seconds:.0f} s, lease {result.plan.lease_s:g} s, {result.plan.clients} clients"),
        ("turns accepted / stored", f"{accepted} / {len(stored)}"),
        ("completed / cancelled / failed", " / ".join(str(statuses[name]) for name in ("completed", "cancelled", "failed"))),
        ("turns that took more than one attempt", str(reruns)),
        ("streams resumed by id / cut / left by the client", f"{resumes} / {closed['cut']} / {closed['left']}"),
        ("`restarted` frames seen", str(restarts)),
        (
            "answers without a stream, chunk streams",
            f"{answers}, {len(chunked)} ({sum(event.error is not None for event in chunked)} with an error chunk)",
        ),
        ("refusals", ", ".join(f"{status}: {count}" for status, count in sorted(refused.items())) or "none"),
        ("requests answered only at the 2nd try / later", f"{result.streaks[1]} / {result.streaks.total() - result.streaks[1]}"),
        ("all processes ready after the last fault", f"{result.recovery_s:.1f} s"),
    ]
    times = take_overs(result.history)
    if times:
        rows.append(
            (f"take-over after a kill -9 (n = {len(times)})", f"p50 {_quantile(times, 0.5):.1f} s, p99 {_quantile(times, 0.99):.1f} s")
        )
    return rows


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def table(result: Result) -> str:
    """For a terminal; REPORT.md takes the same."""
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts(result))]
    lines += ["", "| fault | scheduled | injected |", "| --- | --- | --- |"]
    lines += [f"| {kind} | {count} | {result.injected[kind]} |" for kind, count in result.plan.faults.items()]
    lines += ["", *verdict(result)]
    return "\n".join(lines)


def verdict(result: Result) -> list[str]:
    if result.passed:
        return ["**Passed: 0 violations.**"]
    lines = [f"**FAILED: {len(result.violations)} violations.**"] if result.violations else ["**FAILED.**"]
    lines += [f"- fewer faults than scheduled: {text}" for text in result.fewer]
    lines += [f"- {text}" for text in result.crashes[:SHOWN]]
    lines += [f"- could not inject {text}" for text in result.missed[:SHOWN]]
    rules = Counter(violation.rule for violation in result.violations)
    lines += [f"- {rule}: {count}" for rule, count in rules.most_common()]
    lines += [f"- `{violation.rule}` {violation.turn}: {violation.seen[:600]}" for violation in result.violations[:SHOWN]]
    return lines


def write_report(path: Path, title: str, result: Result) -> None:
    """Replaces the section of the same title, or adds one."""
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    section = f"## {title}\n\n{when}; {machine}; {result.wall_s:.0f} s altogether.\n\n{table(result)}\n"
    put_section(path, title, section)


def put_section(path: Path, title: str, section: str) -> None:
    """Replaces the section of the same title or adds one, and sums the runs up anew."""
    text = path.read_text("utf-8") if path.exists() else HEAD
    _, *sections = re.split(r"(?m)^(?=## )", text)
    kept = [each for each in sections if not each.startswith((f"## {title}\n", TOGETHER))]
    kept.append(section)
    path.write_text("\n".join(part.rstrip() + "\n" for part in (HEAD, together(kept), *kept)), "utf-8")


def together(sections: Sequence[str]) -> str:
    """What the runs that passed come to; a run that failed is not counted."""
    passed = [section for section in sections if "**Passed" in section]
    turns = sum(int(count) for section in passed for count in re.findall(r"\| turns accepted / stored \| \d+ / (\d+) \|", section))
    faults: Counter[str] = Counter()
    for section in passed:
        for kind, count in re.findall(r"(?m)^\| ([a-z -]+) \| \d+ \| (\d+) \|$", section):
            faults[kind] += int(count)
    told = ", ".join(f"{count} × {kind}" for kind, count in faults.most_common())
    return f"{TOGETHER}\n{len(passed)} of {sum('| seed |' in each for each in sections)} runs passed: {turns} turns stored; {told}.\n"
