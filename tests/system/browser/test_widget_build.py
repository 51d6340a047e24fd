"""The committed files of the widget are what its sources are built into, and no larger than they may be."""

import gzip
import subprocess
from pathlib import Path

import orjson

from services.gateway.widget.assets import DIST


def test_a_fresh_build_gives_the_committed_bytes(widget_sources: Path, tmp_path: Path) -> None:
    # It fails where a file is larger than its limit: 4 KiB for the loader, 50 KiB for the frame, after gzip.
    done = subprocess.run(
        ["node", "build.mjs", str(tmp_path)],
        cwd=widget_sources,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".js", ".css", ".txt")}
    committed = {path.name: path.read_bytes() for path in DIST.iterdir() if path.suffix in (".js", ".css", ".txt")}
    assert built == committed, "run `npm ci && npm run build` in services/gateway/widget and commit dist/"


def test_the_types_of_the_sources_are_right(widget_sources: Path) -> None:
    command = ["node", "node_modules/typescript/bin/tsc", "--noEmit"]
    done = subprocess.run(command, cwd=widget_sources, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


def test_each_file_lies_there_packed_too() -> None:
    for entry in orjson.loads((DIST / "manifest.json").read_bytes()).values():
        packed = (DIST / f"{entry['file']}.gz").read_bytes()
        assert gzip.decompress(packed) == (DIST / entry["file"]).read_bytes()
