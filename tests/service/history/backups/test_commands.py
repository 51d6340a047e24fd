"""`parley backup` and `parley restore` as an operator runs them, killed at any moment."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import eventually
from tests.service.history.backups.rig import Filled, content, files
from tests.service.history.running import TOKEN

# Each command is a process that starts for seconds.
pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[4]


def environment(mongodb_uri: str, name: str) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("PARLEY_")}
    return {
        **own,
        "PARLEY_INTERNAL_TOKEN": TOKEN,
        "PARLEY_MONGODB_URI": mongodb_uri,
        "PARLEY_MONGODB_DATABASE": name,
    }


async def started(mongodb_uri: str, name: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        *arguments,
        cwd=ROOT,
        env=environment(mongodb_uri, name),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(mongodb_uri: str, name: str, *arguments: str) -> tuple[int | None, str]:
    process = await started(mongodb_uri, name, *arguments)
    _, said = await process.communicate()
    return process.returncode, said.decode()


async def test_a_backup_is_written_checked_and_restored_by_commands(
    mongodb_uri: str, filled: Filled, tmp_path: Path
) -> None:
    folder, name = tmp_path / "nightly", f"test_{uuid4().hex}"
    code, said = await run(mongodb_uri, filled.name, "backup", str(folder))
    assert (code, "2 turns" in said, "2 knowledge files" in said) == (0, True, True), said
    assert (await run(mongodb_uri, "unused", "restore", "--check", str(folder)))[0] == 0
    code, said = await run(mongodb_uri, name, "restore", str(folder))
    assert (code, "examined turns" in said, "restored turns" in said, "is restored" in said) == (0, True, True, True), (
        said
    )
    assert await content(mongodb_uri, name) == await content(mongodb_uri, filled.name)
    code, said = await run(mongodb_uri, filled.name, "restore", str(folder))
    assert (code, "the database is not empty" in said) == (1, True), said
    code, said = await run(mongodb_uri, filled.name, "backup", str(folder))
    assert (code, "exists: name a new folder" in said) == (1, True), said
    (folder / "manifest.json").write_bytes(b"{}")
    code, said = await run(mongodb_uri, "unused", "restore", "--check", str(folder))
    assert (code, "is damaged: take another copy" in said, "Traceback" in said) == (3, True, False), said


async def test_a_killed_backup_leaves_no_folder_and_the_next_one_is_whole(
    mongodb_uri: str, filled: Filled, tmp_path: Path
) -> None:
    folder = tmp_path / "nightly"
    process = await started(mongodb_uri, filled.name, "backup", str(folder))
    await eventually(lambda: list(tmp_path.glob("nightly.partial/*")), what="a first file")
    process.kill()
    await process.wait()
    assert not folder.exists()
    assert list(tmp_path.glob("nightly.partial/*"))
    code, said = await run(mongodb_uri, filled.name, "backup", str(folder))
    assert code == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["nightly"]
    assert {path.name for path in files(folder)} == {path.name for path in files(filled.folder)}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
async def test_a_restore_that_is_killed_at_any_moment_is_repeated_to_the_same_end(
    mongodb_uri: str, filled: Filled, share: float
) -> None:
    name, begun = f"test_{uuid4().hex}", time.monotonic()
    code, said = await run(mongodb_uri, f"test_{uuid4().hex}", "restore", str(filled.folder))
    assert code == 0, said
    takes_s = time.monotonic() - begun
    process = await started(mongodb_uri, name, "restore", str(filled.folder))
    await asyncio.sleep(takes_s * share)
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()
    code, said = await run(mongodb_uri, name, "restore", str(filled.folder))
    assert code == 0 or "restored into this database already" in said, said
    assert await content(mongodb_uri, name) == await content(mongodb_uri, filled.name)
