"""Runs a script of `node/` against the stack, with the packages of its lock file."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.system.openai.client_program import program

SCRIPTS = Path(__file__).parent / "node"
MANIFEST = ("package.json", "package-lock.json", ".npmrc")


class Node:
    def __init__(
        self, directory: Path, config: dict[str, Any], scripts: Path = SCRIPTS, executable: str = "node"
    ) -> None:
        self._directory = directory
        self._scripts = scripts
        self._config = config
        self._executable = executable

    @staticmethod
    def install(tmp_path_factory: pytest.TempPathFactory, scripts: Path = SCRIPTS) -> Path:
        """A directory with the packages of the lock file, outside the tree; an earlier run's is used again."""
        digest = hashlib.sha256(b"".join((scripts / name).read_bytes() for name in MANIFEST)).hexdigest()[:16]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parley-tests" / f"node-{digest}"
        if not (cache / "installed").exists():
            building = tmp_path_factory.mktemp("node")
            for name in MANIFEST:
                shutil.copy(scripts / name, building)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=110, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            (building / "installed").touch()
            shutil.rmtree(cache, ignore_errors=True)
            cache.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(building, cache)
        return cache

    def start(self, script: str, **config: Any) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """The script's documents, as it prints them. It is ended with the block."""
        # A module finds its packages from where it lies.
        path = self._directory / script
        shutil.copy(self._scripts / script, path)
        return program(self._executable, str(path), cwd=self._directory, config=self._config | config)

    async def run(self, script: str, **config: Any) -> dict[str, Any]:
        """Its only document."""
        async with self.start(script, **config) as documents:
            return [document async for document in documents][-1]
