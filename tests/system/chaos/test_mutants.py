"""Planted bugs fit the code that they change: one without effect would look like a bug that chaos misses."""

import asyncio
import sys


async def test_every_bug_can_be_planted() -> None:
    plant_all = "from tests.system.chaos.mutant_main import MUTANTS\nfor plant in MUTANTS.values(): plant()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", plant_all, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
