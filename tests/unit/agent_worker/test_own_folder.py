"""Temporary folders end with their process, also when it was killed."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from services.agent_worker.own_folder import OwnFolder
from tests.system.stack import ROOT

PREFIX = "parley-own-folder-test-"
MAKE = f"""
import sys, time
from services.agent_worker.own_folder import OwnFolder
folder = OwnFolder({PREFIX!r})
(folder.path / "content").write_text("what somebody has uploaded")
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_leaves_is_removed_by_the_next_and_what_a_living_one_has_stays() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen([sys.executable, "-c", MAKE], cwd=ROOT, **pipes) as killed,  # type: ignore[call-overload]
        subprocess.Popen([sys.executable, "-c", MAKE], cwd=ROOT, **pipes) as living,  # type: ignore[call-overload]
    ):
        left, kept = (Path(process.stdout.readline().decode().strip()) for process in (killed, living))
        killed.kill()
        killed.wait()
        assert (left / "content").exists()
        with OwnFolder(PREFIX) as own:
            assert not left.exists()
            assert (kept / "content").exists()
            assert own.path.is_dir()
        assert not own.path.exists()


def test_a_folder_without_a_lock_may_be_an_earlier_releases_and_stays_for_a_day(temporary: Path) -> None:
    young, old = temporary / f"{PREFIX}young", temporary / f"{PREFIX}old"
    for folder in (young, old):
        folder.mkdir()
    yesterday = time.time() - 90_000
    os.utime(old, (yesterday, yesterday))
    with OwnFolder(PREFIX):
        assert (young.exists(), old.exists()) == (True, False)


def test_neither_a_link_nor_a_file_of_that_name_is_touched(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").touch()
    with OwnFolder(PREFIX):
        assert (elsewhere / ".lock").exists()
        assert (temporary / f"{PREFIX}file").exists()


def test_a_folder_is_removed_once() -> None:
    folder = OwnFolder(PREFIX)
    folder.remove()
    folder.remove()
    assert not folder.path.exists()
