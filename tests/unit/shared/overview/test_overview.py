"""What an overview makes of the metrics of several processes."""

import pytest

from shared.overview.overview import Overview, Process, overview_of
from shared.overview.readings import Reading

GATEWAY = """# TYPE parley_open_listeners gauge
parley_open_listeners {streams}
# TYPE parley_requests_total counter
parley_requests_total{{method="GET",route="/a",status="200"}} {ok}
parley_requests_total{{method="GET",route="/a",status="503"}} {failed}
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12
"""
WORKER = """# TYPE parley_turns_running gauge
parley_turns_running {running}
# TYPE parley_queue_waiting gauge
parley_queue_waiting {waiting}
# TYPE parley_queue_oldest_seconds gauge
parley_queue_oldest_seconds {oldest}
"""


def gateway(at_s: float, *, ok: int, failed: int = 0, streams: int = 0) -> Reading:
    return Reading.parse(GATEWAY.format(streams=streams, ok=ok, failed=failed), at_s)


def worker(*, running: int, waiting: int, oldest: float) -> Reading:
    return Reading.parse(WORKER.format(running=running, waiting=waiting, oldest=oldest), 0.0)


def seen(now: dict[str, Reading], before: dict[str, Reading] | None = None) -> Overview:
    processes = tuple(Process(url=url, kind=reading.kind, state="ready") for url, reading in now.items())
    return overview_of(processes, now, before or {})


def rate(of: Overview, name: str) -> float | None:
    return next(line.per_s for line in (*of.rates, *of.errors) if line.name == name)


def test_processes_are_told_apart_and_added_up() -> None:
    two = seen(
        {
            "a": gateway(0, ok=1, streams=3),
            "b": gateway(0, ok=1, streams=4),
            "c": worker(running=5, waiting=7, oldest=1.5),
            "d": worker(running=2, waiting=6, oldest=2.5),
        }
    )
    assert [process.kind for process in two.processes] == ["gateway", "gateway", "worker", "worker"]
    assert (two.streams, two.workers, two.running) == (7, 2, 7)
    # Every worker counts the whole queue.
    assert (two.waiting, two.oldest_s) == (7, 2.5)


def test_rates_are_differences_of_two_looks_and_unknown_at_the_first() -> None:
    first, second = {"a": gateway(10.0, ok=100, failed=2)}, {"a": gateway(12.0, ok=120, failed=6)}
    assert rate(seen(first), "requests") is None
    assert rate(seen(second, first), "requests") == 12.0
    assert rate(seen(second, first), "answers 5xx") == 2.0


def test_a_restarted_process_has_no_negative_rate_and_a_new_one_none() -> None:
    before = {"a": gateway(10.0, ok=1000)}
    now = {"a": gateway(12.0, ok=6), "b": gateway(12.0, ok=500)}
    assert rate(seen(now, before), "requests") == 3.0


def test_without_workers_the_queue_is_unknown() -> None:
    alone = seen({"a": gateway(0, ok=1)})
    assert (alone.waiting, alone.oldest_s, alone.workers) == (None, None, 0)
    assert alone.members()["waiting"] is None


def test_what_is_no_text_of_metrics_is_refused() -> None:
    with pytest.raises(ValueError):
        Reading.parse("<html>not found</html>", 0.0)
