"""Runs a client of `python/` against the stack, in a virtual environment of its own.

Such a client needs other versions than Parley does, or much that nothing else here needs. None of it is installed where
Parley runs, and none of it is imported by a process of ours.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.system.openai.client_program import program
from tests.system.stack import ROOT

CLIENTS = Path(__file__).parent / "python"
ENVIRONMENTS = ROOT / ".venv" / "clients"
INSTALL = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:")


def installed(name: str, clients: Path = CLIENTS) -> Path:
    """The interpreter with the packages of the client's lock file; an earlier run's is used again."""
    lock = clients / name / "requirements.lock"
    home = ENVIRONMENTS / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not home.exists():
        building = ENVIRONMENTS / f"building-{uuid4().hex}"
        try:
            venv.create(building, with_pip=False)
            command = [sys.executable, "-m", "pip", "--python", str(building), "install", *INSTALL, "-r", str(lock)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            for older in ENVIRONMENTS.glob(f"{name}-*"):
                shutil.rmtree(older, ignore_errors=True)
            # Another run may have been faster; either is whole.
            building.rename(home)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return home / "bin" / "python"


async def run(python: Path, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the client prints last."""
    async with start(python, name, config) as documents:
        return [document async for document in documents][-1]


def start(
    python: Path, name: str, config: dict[str, Any], clients: Path = CLIENTS
) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
    """The client's documents, as it prints them. It is ended with the block."""
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().endswith("_PROXY") and not key.startswith("PYTHON")
    }
    script = str(clients / name / "client.py")
    return program(str(python), "-I", script, cwd=clients / name, config=config, environment=own)
