"""What an overview shows, computed from two rounds of readings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from shared.overview.readings import Kind, Reading, total

# Label, metric, and what its series' labels begin with.
_Row = tuple[str, str, dict[str, str]]
RATES: Final[tuple[_Row, ...]] = (
    ("requests", "parley_requests_total", {}),
    ("turns accepted", "parley_turns_admitted_total", {}),
    ("turns ended", "parley_turns_finished_total", {}),
    ("tokens", "parley_tokens_total", {}),
    ("frames", "parley_frames_total", {}),
)
ERRORS: Final[tuple[_Row, ...]] = (
    ("failed turns", "parley_turns_failed_total", {}),
    ("answers 5xx", "parley_requests_total", {"status": "5"}),
    ("model faults", "parley_model_faults_total", {}),
    ("store errors", "parley_store_errors_total", {}),
    ("refused by a limit", "parley_limits_hit_total", {}),
    ("leases lost", "parley_leases_lost_total", {}),
    ("slow readers cut", "parley_slow_readers_total", {}),
)


@dataclass(frozen=True, kw_only=True)
class Process:
    """`failing`: what its `/readyz` names. `state`: ready, not ready or away."""

    url: str
    kind: Kind
    state: str
    failing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """`per_s` None: not known yet. `count`: since the processes' starts."""

    name: str
    per_s: float | None
    count: float


@dataclass(frozen=True, kw_only=True)
class Overview:
    """`waiting` and `oldest_s` None: no worker says it."""

    processes: tuple[Process, ...]
    waiting: int | None
    oldest_s: float | None
    workers: int
    running: int
    streams: int
    requests_held: int
    rates: tuple[Line, ...]
    errors: tuple[Line, ...]

    def members(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def overview_of(processes: tuple[Process, ...], now: Mapping[str, Reading], before: Mapping[str, Reading]) -> Overview:
    """`now` and `before`: readings by the processes' URLs."""
    readings = list(now.values())
    workers = [reading for reading in readings if reading.kind == "worker"]
    return Overview(
        processes=processes,
        waiting=max((round(each.total("parley_queue_waiting")) for each in workers), default=None),
        oldest_s=max((each.total("parley_queue_oldest_seconds") for each in workers), default=None),
        workers=len(workers),
        running=round(total(workers, "parley_turns_running")),
        streams=round(total(readings, "parley_open_listeners")),
        requests_held=round(total(readings, "parley_held_requests")),
        rates=tuple(_line(row, now, before) for row in RATES),
        errors=tuple(_line(row, now, before) for row in ERRORS),
    )


def _line(row: _Row, now: Mapping[str, Reading], before: Mapping[str, Reading]) -> Line:
    name, metric, beginnings = row
    rates = [_rate(before[url], reading, metric, beginnings) for url, reading in now.items() if url in before]
    count = total(now.values(), metric, **beginnings)
    return Line(name=name, per_s=sum(rates) if rates else None, count=count)


def _rate(before: Reading, now: Reading, metric: str, beginnings: Mapping[str, str]) -> float:
    """A counter that is lower than before began anew: its process was restarted."""
    took_s = now.at_s - before.at_s
    old, new = before.total(metric, **beginnings), now.total(metric, **beginnings)
    grown = new - old if new >= old else new
    return grown / took_s if took_s > 0 else 0.0
