"""The suites of the queue, the run log, the budgets and the streams, on Redis 7 instead of Valkey."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import required_program

ROOT = Path(__file__).resolve().parents[2]
SUITES = (
    "tests/service/shared/broker",
    "tests/service/shared/run_log",
    "tests/service/shared/turn_queue",
    "tests/service/history/budgets",
    "tests/service/history/reconcile",
    "tests/service/gateway/streaming",
)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_suites_of_the_wire_pass_on_redis_7() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PARLEY_TEST_REDIS_PROGRAM"] = required_program("redis-server", "redis-server")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-p", "no:cacheprovider", *SUITES]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-8000:]
    print(ran.stdout.splitlines()[-1])
