"""A rolling upgrade from an earlier release to the working tree and back, under load: nothing lost, nothing doubled."""

from pathlib import Path

import pytest

from tests.contracts.recording import LAST, LAST_COMMIT
from tests.system.upgrade.release import FIRST, Release
from tests.system.upgrade.rolling import run


@pytest.mark.parametrize(
    "commit",
    [
        pytest.param(FIRST, id="v0_1_0", marks=pytest.mark.soak),
        pytest.param(LAST_COMMIT, id=LAST, marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(900)
async def test_an_upgrade_and_its_rollback_under_load_lose_and_double_nothing(commit: str, tmp_path: Path) -> None:
    """The rule that one retry is enough is among those that the checker judges by."""
    release = Release.checked_out(commit, tmp_path / "release")
    result = await run(release, tmp_path / "run", seed=20261127)
    print(result.accepted, "turns accepted; requests by failures in a row:", result.streaks)
    assert not result.violations, f"{result.violations[:5]}; all of it: {tmp_path}"
    assert not result.crashes, result.crashes
    assert result.accepted > 20
