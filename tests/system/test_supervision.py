"""A background loop that ends by itself ends its process, with an error in the log and a status that makes a
supervisor restart it.
"""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.system.loop_ender import LIMIT_S, LOOPS
from tests.system.stack import ROOT


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of the services, one for each loop."""
    directory = tmp_path_factory.mktemp("ended")
    environment = {
        "PATH": os.environ["PATH"],
        "PARLEY_INTERNAL_TOKEN": "a-token-for-tests-only",
        "PARLEY_QUEUE_REDIS_URL": "redis://127.0.0.1:9/0",
        "PARLEY_HISTORY_URL": "http://127.0.0.1:9",
        "PARLEY_QUEUE_AGE_LIMIT_S": "60",
    }
    command = [sys.executable, "-m", "tests.system.loop_ender", str(directory)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=LIMIT_S * 4)
    return directory


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_fails_ends_its_process_loudly(ended: Path, loop: str) -> None:
    assert (ended / f"{loop}.status").read_text() == "1", (ended / f"{loop}.errors").read_text()
    lines = [orjson.loads(line) for line in (ended / f"{loop}.output").read_bytes().splitlines()]
    (found,) = [line for line in lines if line["event"] == "loop_ended"]
    assert (found["loop"], found["level"], found["error"]) == (loop, "error", "RuntimeError")
