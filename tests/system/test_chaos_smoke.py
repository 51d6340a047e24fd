"""A minute of chaos in every test run: one or more of each fault under load, judged by the checker. PARLEY_CHAOS_SEED varies it."""

import os
from pathlib import Path
from typing import Final

import pytest

from tests.system.chaos.report import table
from tests.system.chaos.run import Plan, run
from tests.system.chaos.schedule import KINDS

SECONDS: Final = 40.0
# A start of a Python process takes a second of a core: kills of services are what costs most.
MORE: Final = {
    "kill worker": 3,
    "stop worker": 2,
    "cut pubsub": 2,
    "link cut": 4,
    "link delay": 2,
    "link black-hole": 2,
    "link mute": 2,
}
# Too long for a minute.
NONE: Final = {kind: 0 for kind in KINDS if kind == "roll services" or kind.endswith((" 5 s", " 60 s"))}


@pytest.mark.timeout(300)
async def test_a_minute_of_chaos_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("PARLEY_CHAOS_SEED", "20261122"))
    print(f"PARLEY_CHAOS_SEED={seed}")
    plan = Plan(seed=seed, seconds=SECONDS, faults=dict.fromkeys(KINDS, 1) | MORE | NONE, lease_s=2.0, think_s=1.5)
    result = await run(plan, tmp_path)
    result.history.write(tmp_path / "history.jsonl")
    print(table(result))
    assert not result.violations, f"{result.violations[:5]}; all of it: {tmp_path}"
    assert not result.fewer, f"{result.fewer}, {result.missed}"
    assert not result.crashes, result.crashes
