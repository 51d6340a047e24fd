"""What a run is told as: a table for the terminal, and a section of REPORT.md."""

import os
import platform
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.system.chaos.events import (
    Accepted,
    Added,
    Answered,
    Billed,
    Chunked,
    Closed,
    Counted,
    Deleted,
    Ending,
    Event,
    Frame,
    Injected,
    Knowledge,
    Looked,
    Opened,
    Probed,
    Recovered,
    Refused,
    Removed,
    Stored,
    Told,
)
from tests.system.chaos.injector import link_sort
from tests.system.chaos.run import Result
from tests.system.chaos.take_overs import take_overs
from tests.system.chaos.together import TITLE, together

HEAD: Final = """# Chaos runs

Written by `make chaos-report`; each section is one run, with the seed that repeats its schedule. Two gateways, three
workers, two histories, a real Valkey or Redis (AOF everysec) and the MongoDB stand-in on one machine; every connection
of clients to gateways, of services to their stores, and of gateways and workers to histories goes through a link that
can be cut. Behind Sentinel a link belongs to a server instead: services, replicas and Sentinels reach it that way. The
workspace has a webhook, whose receiver fails, hangs, and denies what it took. An author adds knowledge sources,
publishes, deletes and purges; one ingest worker reads. The clients, the supervisor and the links share that machine's
cores. What is counted as a violation stands in `checker.py` and, for knowledge, in `knowledge_rules.py`.
"""
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
        ("Redis", result.redis),
        (
            "faults during",
            f"{result.plan.seconds:.0f} s, lease {result.plan.lease_s:g} s, {result.plan.clients} clients",
        ),
        ("turns accepted / stored", f"{accepted} / {len(stored)}"),
        (
            "completed / cancelled / failed",
            " / ".join(str(statuses[name]) for name in ("completed", "cancelled", "failed")),
        ),
        ("turns that took more than one attempt", str(reruns)),
        ("streams resumed by id / cut / left by the client", f"{resumes} / {closed['cut']} / {closed['left']}"),
        ("`restarted` frames seen", str(restarts)),
        (
            "answers without a stream, chunk streams",
            f"{answers}, {len(chunked)} ({sum(event.error is not None for event in chunked)} with an error chunk)",
        ),
        ("sessions deleted / ended; looks at deleted ones", _finalizer(events)),
        ("refusals", _counts(refused)),
        (
            "requests answered only at the 2nd try / later",
            f"{result.streaks[1]} / {result.streaks.total() - result.streaks[1]}",
        ),
        ("waiting callers sent on by a gateway that drained", str(result.sent_on)),
        ("all processes ready after the last fault", f"{result.recovery_s:.1f} s"),
        *([("alerts that fired", ", ".join(result.alerts) or "none")] if result.alerts is not None else []),
        *_knowledge(events),
        *_bill(events),
        *_told(result),
        *_links(events),
        *_outages(events),
    ]
    times = take_overs(result.history)
    if times:
        rows.append(
            (
                f"take-over after a kill -9 (n = {len(times)})",
                f"p50 {_quantile(times, 0.5):.1f} s, p99 {_quantile(times, 0.99):.1f} s",
            )
        )
    return rows


def _finalizer(events: Sequence[Event]) -> str:
    deleted, ended, looks = (sum(isinstance(event, kind) for event in events) for kind in (Deleted, Ending, Looked))
    return f"{deleted} / {ended}; {looks}"


def _knowledge(events: Sequence[Event]) -> list[tuple[str, str]]:
    removed = [event for event in events if isinstance(event, Removed)]
    added, purged = (sum(isinstance(event, Added) for event in events), sum(event.purge for event in removed))
    return [
        (
            "knowledge sources added / deleted / purged; kept; what killed histories had left",
            f"{added} / {len(removed) - purged} / {purged}; {len(known.sources)}; {len(known.abandoned)}",
        )
        for known in events
        if isinstance(known, Knowledge)
    ]


def _bill(events: Sequence[Event]) -> list[tuple[str, str]]:
    pages = [event for event in events if isinstance(event, Billed)]
    whole, cut = sum(page.whole_tokens for page in pages), sum(page.cut_tokens for page in pages)
    calls = f"{sum(page.whole_calls for page in pages)} whole, {sum(page.cut_calls for page in pages)} cut calls"
    return [
        (
            "tokens that the model billed; that `/usage` has",
            f"{whole} + {cut} of {calls}; {usage.used} reported + {usage.estimated} estimated",
        )
        for usage in events
        if isinstance(usage, Counted)
    ]


def _told(result: Result) -> list[tuple[str, str]]:
    told = [event for event in result.history.events if isinstance(event, Told)]
    did = ", ".join(f"{way}: {count}" for way, count in result.receiver.most_common())
    return [
        (
            "events that the webhook was told / took; what its receiver did",
            f"{len({event.event for event in told})} / {len(told)}; {did}",
        )
    ]


def _links(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Which sorts of links were hurt."""
    hurt = Counter(
        link_sort(event.target) for event in events if isinstance(event, Injected) and event.kind.startswith("link ")
    )
    return [("links hurt", ", ".join(f"{sort}: {count}" for sort, count in sorted(hurt.items())))] if hurt else []


def _outages(events: Sequence[Event]) -> list[tuple[str, str]]:
    """What new turns were told while a store was down, and how long after its return the first one was done."""
    rows = []
    for kind in dict.fromkeys(event.kind for event in events if isinstance(event, Recovered)):
        probes = [event for event in events if isinstance(event, Probed) and event.kind == kind]
        times = sorted(event.took_s for event in probes if event.status == 503)
        others = Counter(event.status for event in probes if event.status != 503)
        refused = f"p50 {_quantile(times, 0.5):.2f} s; the longest {times[-1]:.2f} s" if times else "none"
        back = max(event.after_s for event in events if isinstance(event, Recovered) and event.kind == kind)
        told = f"{len(times)} refusals, {refused}; other answers: {_counts(others)}"
        told += f"; first new turn done after {back:.2f} s"
        rows.append((f"new turns while {kind.removeprefix('down ').replace(' ', ' is down for ', 1)}", told))
    return rows


def _counts(found: Counter[int]) -> str:
    return ", ".join(f"{status}: {count}" for status, count in sorted(found.items())) or "none"


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
    lines += [
        f"- `{violation.rule}` {violation.turn}: {violation.seen[:600]}" for violation in result.violations[:SHOWN]
    ]
    return lines


def write_report(path: Path, title: str, result: Result) -> None:
    """Replaces the section of the same title, or adds one."""
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    section = f"## {title}\n\n{when}; {machine}; {result.wall_s:.0f} s altogether.\n\n{table(result)}\n"
    put_section(path, title, section)


def drop_runs_but(path: Path, titles: Sequence[str]) -> None:
    """Removes the sections of other runs, from a list that was another one."""
    if path.exists():
        _, *sections = re.split(r"(?m)^(?=## )", path.read_text("utf-8"))
        kept = [
            each
            for each in sections
            if "| seed |" not in each or each.startswith(tuple(f"## {title}\n" for title in titles))
        ]
        path.write_text("".join([HEAD, "\n", *kept]), "utf-8")


def put_section(path: Path, title: str, section: str) -> None:
    """Replaces the section of the same title or adds one, and sums the runs up anew."""
    text = path.read_text("utf-8") if path.exists() else HEAD
    _, *sections = re.split(r"(?m)^(?=## )", text)
    kept = [each for each in sections if not each.startswith((f"## {title}\n", TITLE))]
    kept.append(section)
    path.write_text("\n".join(part.rstrip() + "\n" for part in (HEAD, together(kept), *kept)), "utf-8")
