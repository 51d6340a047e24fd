"""Pure: what the runs of a report come to, read from their sections, beside what they have to show."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

TITLE: Final = "## Together\n"


class Target(NamedTuple):
    """At least `least` faults of these kinds together."""

    name: str
    kinds: tuple[str, ...]
    least: int


TARGETS: Final = (
    Target("kill -9 of a worker", ("kill worker",), 200),
    Target("kill -9 of a gateway", ("kill gateway",), 50),
    Target("kill -9 of a history", ("kill history",), 20),
    Target("kill -9 of Redis", ("kill redis",), 20),
    Target("FLUSHALL", ("flush redis",), 10),
    Target("SIGSTOP of a service for 2 to 3 leases", ("stop worker", "stop gateway", "stop history"), 100),
    Target("all pub/sub connections cut", ("cut pubsub",), 100),
    Target("rolling restart of every service", ("roll services",), 5),
    Target(
        "links cut, delayed, black-holed or robbed of their answers",
        ("link cut", "link delay", "link black-hole", "link mute"),
        50,
    ),
    Target("primary of Redis replaced by Sentinel", ("fail-over redis",), 4),
    Target("Redis down for 1 s", ("down redis 1 s",), 1),
    Target("Redis down for 5 s", ("down redis 5 s",), 1),
    Target("Redis down for 60 s", ("down redis 60 s",), 1),
    Target("MongoDB down for 1 s", ("down mongodb 1 s",), 1),
    Target("MongoDB down for 5 s", ("down mongodb 5 s",), 1),
    Target("MongoDB down for 60 s", ("down mongodb 60 s",), 1),
)
TURNS: Final = 2000
TAKE_OVER_S: Final = 8.0
REFUSED_S: Final = 1.0
BACK_S: Final = 5.0

_FAULT: Final = re.compile(r"(?m)^\| ([a-z0-9 -]+) \| \d+ \| (\d+) \|$")
_ACCEPTED: Final = re.compile(r"\| turns accepted / stored \| (\d+) / \d+ \|")
_TAKE_OVER: Final = re.compile(r"\| take-over after a kill -9 \(n = (\d+)\) \| p50 [\d.]+ s, p99 ([\d.]+) s \|")
_LATER: Final = re.compile(r"\| requests answered only at the 2nd try / later \| \d+ / (\d+) \|")
_REFUSED: Final = re.compile(r"; the longest ([\d.]+) s")
_BACK: Final = re.compile(r"first new turn done after ([\d.]+) s")


def together(sections: Sequence[str]) -> str:
    """A run that failed is not counted."""
    runs = [section for section in sections if "| seed |" in section]
    passed = [section for section in runs if "**Passed" in section]
    faults: Counter[str] = Counter()
    for section in passed:
        for kind, count in _FAULT.findall(section):
            faults[kind] += int(count)
    lines = [
        f"{len(passed)} of {len(runs)} runs passed: 0 turns lost, doubled or told wrong in these."
        if passed
        else "No run passed."
    ]
    lines += ["", "| shown | wanted | |", "| --- | --- | --- |", *_rows(passed, faults), *_bugs(sections)]
    known = {kind for target in TARGETS for kind in target.kinds}
    if others := [f"{count} × {kind}" for kind, count in faults.most_common() if kind not in known]:
        lines += ["", f"Beside these: {', '.join(others)}."]
    return TITLE + "\n" + "\n".join(lines) + "\n"


def _rows(passed: Sequence[str], faults: Counter[str]) -> list[str]:
    accepted = sum(int(count) for section in passed for count in _ACCEPTED.findall(section))
    rows = [_row("turns accepted", accepted, f"≥ {TURNS}", accepted >= TURNS)]
    for target in TARGETS:
        count = sum(faults[kind] for kind in target.kinds)
        rows.append(_row(target.name, count, f"≥ {target.least}", count >= target.least))
    return rows + _times(passed)


def _bugs(sections: Sequence[str]) -> list[str]:
    caught, missed = (
        sum(len(re.findall(word, section)) for section in sections) for word in (r"\| caught \|", r"\| \*\*NOT CAUGHT")
    )
    return [_row("planted bugs caught", caught, f"{caught + missed}", not missed)] if caught + missed else []


def _times(passed: Sequence[str]) -> list[str]:
    """Only those of which a run tells."""
    rolled = [section for section in passed if {kind for kind, _ in _FAULT.findall(section)} == {"roll services"}]
    later = sum(int(count) for section in rolled for count in _LATER.findall(section))
    rows = [_row("requests that failed after one retry, in rolling restarts", later, "0", later == 0)] if rolled else []
    pairs: list[tuple[str, list[str], float]] = [
        (
            "take-over after a kill -9 of a worker, p99",
            [p99 for section in passed for _, p99 in _TAKE_OVER.findall(section)],
            TAKE_OVER_S,
        ),
        ("a new turn's refusal while a store is down, the longest", _all(_REFUSED.findall, passed), REFUSED_S),
        ("a new turn's end after a store is back, the longest", _all(_BACK.findall, passed), BACK_S),
    ]
    for name, found, limit in pairs:
        if found:
            longest = max(float(seconds) for seconds in found)
            rows.append(_row(name, f"{longest:.1f} s", f"≤ {limit:g} s", longest <= limit))
    return rows


def _all(find: Callable[[str], list[str]], sections: Sequence[str]) -> list[str]:
    return [text for section in sections for text in find(section)]


def _row(name: str, shown: object, wanted: str, enough: bool) -> str:
    return f"| {name}: {shown} | {wanted} | {'✓' if enough else '✗'} |"
