"""Chaos on both shelves: a minute with at least one of each fault, and minutes of everything, judged by the checker.

PARLEY_CHAOS_SEED varies the schedule.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import PATIENCE
from tests.programs import required_program
from tests.system.chaos.__main__ import BEHIND_SENTINEL, USUAL
from tests.system.chaos.redis_servers import EMBEDDED, RedisChoice
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
LATER: Final = ("roll services", "fail-over redis")
NONE: Final = {kind: 0 for kind in KINDS if kind in LATER or kind.endswith((" 5 s", " 60 s"))}
SMOKE: Final = dict.fromkeys(KINDS, 1) | MORE | NONE
FAIL_OVERS: Final = {**SMOKE, **BEHIND_SENTINEL, "fail-over redis": 2}

LONG_SECONDS: Final = 240.0
LONG: Final = {kind: max(1, round(number * LONG_SECONDS / 600)) for kind, number in USUAL.items()}


async def judge(
    directory: Path,
    *,
    seconds: float,
    faults: Mapping[str, int],
    lease_s: float,
    think_s: float,
    redis: str = EMBEDDED,
) -> None:
    seed = int(os.environ.get("PARLEY_CHAOS_SEED", "20261122"))
    print(f"PARLEY_CHAOS_SEED={seed}")
    choice = RedisChoice.parse(redis)
    plan = Plan(
        seed=seed, seconds=seconds, faults=faults, lease_s=lease_s, think_s=think_s, slack=PATIENCE, redis=choice
    )
    result = await run(plan, directory)
    result.history.write(directory / "history.jsonl")
    print(table(result))
    assert not result.violations, f"{result.violations[:5]}; all of it: {directory}"
    assert not result.fewer, f"{result.fewer}, {result.missed}"
    assert not result.crashes, result.crashes


@pytest.mark.timeout(600)
async def test_a_minute_of_chaos_loses_and_doubles_nothing(tmp_path: Path) -> None:
    await judge(tmp_path, seconds=SECONDS, faults=SMOKE, lease_s=2.0, think_s=1.5)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_minutes_of_chaos_lose_and_double_nothing(tmp_path: Path) -> None:
    await judge(tmp_path, seconds=LONG_SECONDS, faults=LONG, lease_s=4.0, think_s=2.0)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_chaos_on_redis_7_loses_and_doubles_nothing(tmp_path: Path) -> None:
    program = required_program("redis-server", "redis-server")
    await judge(tmp_path, seconds=SECONDS, faults=SMOKE, lease_s=2.0, think_s=1.5, redis=program)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_fail_overs_of_redis_7_lose_and_double_nothing(tmp_path: Path) -> None:
    redis = f"sentinel:{required_program('redis-server', 'redis-server')}"
    await judge(tmp_path, seconds=SECONDS, faults=FAIL_OVERS, lease_s=2.0, think_s=1.5, redis=redis)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_fail_overs_of_valkey_lose_and_double_nothing(tmp_path: Path) -> None:
    await judge(tmp_path, seconds=SECONDS, faults=FAIL_OVERS, lease_s=2.0, think_s=1.5, redis="sentinel")
