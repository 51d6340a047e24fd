"""The sum over the runs of a report."""

from tests.system.chaos.together import TARGETS, together

RUN = """## A run

| | |
| --- | --- |
| seed | 7 |
| turns accepted / stored | 1500 / 1400 |
| requests answered only at the 2nd try / later | 20 / 3 |
| take-over after a kill -9 (n = 9) | p50 3.9 s, p99 {p99} s |
| new turns while redis is down for 5 s | 9 refusals, p50 0.0 s; the longest 0.91 s; others: none; first \
new turn done after 1.25 s |

| fault | scheduled | injected |
| --- | --- | --- |
| {kind} | 150 | 150 |

**{verdict}**
"""


def run(kind: str = "kill worker", verdict: str = "Passed: 0 violations.", p99: float = 4.5) -> str:
    return RUN.format(kind=kind, verdict=verdict, p99=p99)


def test_faults_and_turns_are_added_up_and_compared_with_what_is_wanted() -> None:
    one, two = together([run()]), together([run(), run(p99=9.5)])
    assert "| kill -9 of a worker: 150 | ≥ 200 | ✗ |" in one
    assert "| kill -9 of a worker: 300 | ≥ 200 | ✓ |" in two
    assert "| turns accepted: 1500 | ≥ 2000 | ✗ |" in one
    assert "| turns accepted: 3000 | ≥ 2000 | ✓ |" in two
    assert "p99: 4.5 s | ≤ 8 s | ✓ |" in one
    assert "p99: 9.5 s | ≤ 8 s | ✗ |" in two


def test_times_of_outages_and_failures_in_rolling_restarts_are_told() -> None:
    text = together([run("roll services")])
    assert "the longest: 0.9 s | ≤ 1 s | ✓ |" in text
    assert "the longest: 1.2 s | ≤ 5 s | ✓ |" in text
    assert "in rolling restarts: 3 | 0 | ✗ |" in text
    assert "in rolling restarts" not in together([run()])


def test_planted_bugs_are_counted_beside_the_runs() -> None:
    bugs = "## Planted bugs, seed 1\n\n| no fence | caught | 72 s | |\n"
    assert "| planted bugs caught: 1 | 1 | ✓ |" in together([run(), bugs])
    assert "| planted bugs caught: 1 | 2 | ✗ |" in together(
        [run(), bugs + "| server-made ids | **NOT CAUGHT** | 40 s | |\n"]
    )


def test_a_run_that_failed_is_not_counted() -> None:
    text = together([run(verdict="FAILED: 1 violations.")])
    assert "No run passed." in text
    assert text.count("✗") == len(TARGETS) + 1


def test_faults_without_a_target_are_named() -> None:
    assert "Beside these: 150 × term worker." in together([run("term worker")])
