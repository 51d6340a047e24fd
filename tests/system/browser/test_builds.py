"""The committed files of the widget and of the console are what their sources are built into, and not too large."""

import gzip
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest

from services.gateway.console import pages
from services.gateway.widget import assets
from tests.programs import required_program
from tests.system.openai.node_client import Node

BUNDLES = {"widget": assets.DIST.parent, "console": pages.DIST.parent}


@pytest.fixture(params=BUNDLES)
def folder(request: pytest.FixtureRequest) -> Path:
    return BUNDLES[request.param]


@pytest.fixture
def sources(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources beside the packages of the lock file. The console uses modules of the widget."""
    required_program("npm", "npm")
    required_program("node", "nodejs")
    packages = Node.install(tmp_path_factory, folder)
    copies = tmp_path_factory.mktemp("sources")
    for name, each in BUNDLES.items():
        shutil.copytree(each, copies / name, ignore=shutil.ignore_patterns("node_modules", "dist", "*.py"))
    (copies / folder.name / "node_modules").symlink_to(packages / "node_modules")
    return copies / folder.name


def test_a_fresh_build_gives_the_committed_bytes(folder: Path, sources: Path, tmp_path: Path) -> None:
    # It fails where a file is larger than its limit: 4 KiB for the loader, 50 KiB for each of the others, after gzip.
    done = subprocess.run(
        ["node", "build.mjs", str(tmp_path)], cwd=sources, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built, committed = bytes_of(tmp_path), bytes_of(folder / "dist")
    assert built == committed, f"run `npm ci && npm run build` in services/gateway/{folder.name} and commit dist/"


def bytes_of(dist: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dist.iterdir() if path.suffix in (".js", ".css", ".txt")}


def test_the_types_of_the_sources_are_right(sources: Path) -> None:
    command = ["node", "node_modules/typescript/bin/tsc", "--noEmit"]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


def test_each_file_lies_there_packed_too(folder: Path) -> None:
    for entry in orjson.loads((folder / "dist" / "manifest.json").read_bytes()).values():
        packed = (folder / "dist" / f"{entry['file']}.gz").read_bytes()
        assert gzip.decompress(packed) == (folder / "dist" / entry["file"]).read_bytes()
