"""The committed files of the widget are what its sources are built into, and no larger than they may be."""

import gzip
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest

from services.gateway.widget.assets import DIST
from tests.programs import required_program
from tests.system.openai.node_client import Node

WIDGET = DIST.parent


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources beside the packages of the lock file."""
    required_program("npm", "npm")
    required_program("node", "nodejs")
    packages = Node.install(tmp_path_factory, WIDGET)
    copy = tmp_path_factory.mktemp("widget")
    shutil.copytree(WIDGET, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist", "*.py"))
    (copy / "node_modules").symlink_to(packages / "node_modules")
    return copy


def test_a_fresh_build_gives_the_committed_bytes(sources: Path, tmp_path: Path) -> None:
    # It fails where a file is larger than its limit: 4 KiB for the loader, 50 KiB for the frame, after gzip.
    done = subprocess.run(
        ["node", "build.mjs", str(tmp_path)], cwd=sources, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".js", ".css", ".txt")}
    committed = {path.name: path.read_bytes() for path in DIST.iterdir() if path.suffix in (".js", ".css", ".txt")}
    assert built == committed, "run `npm ci && npm run build` in services/gateway/widget and commit dist/"


def test_the_types_of_the_sources_are_right(sources: Path) -> None:
    command = ["node", "node_modules/typescript/bin/tsc", "--noEmit"]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


def test_each_file_lies_there_packed_too() -> None:
    for entry in orjson.loads((DIST / "manifest.json").read_bytes()).values():
        packed = (DIST / f"{entry['file']}.gz").read_bytes()
        assert gzip.decompress(packed) == (DIST / entry["file"]).read_bytes()
