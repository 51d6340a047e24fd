"""The programs that `make test` puts below .venv/manifests: hadolint, helm, and Python with the schemas."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[4]
CHART: Final = ROOT / "deploy" / "helm" / "parley"
PROGRAMS: Final = ROOT / ".venv" / "manifests" / "bin"
# A loaded machine may take its time; the programs themselves need less than a second.
LIMIT_S: Final = 120


def run(name: str, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    program = PROGRAMS / name
    if not program.exists():
        message = f"{name} is not in {PROGRAMS.relative_to(ROOT)}, so this was not tested. `make test` installs it"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"{message}. On CI a missing program is a failure.", pytrace=False)
        pytest.skip(message)
    return subprocess.run(
        [str(program), *arguments], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def complaints(script: str, document: Any, *arguments: str) -> list[str]:
    """What `script`, run where the schemas are, prints about the document that it reads as JSON."""
    done = run("python", "-c", script, *arguments, stdin=json.dumps(document))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def render(*arguments: str, values: dict[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
    return run("helm", "template", "try", str(CHART), "--values", "-", *arguments, stdin=yaml.safe_dump(values or {}))


def objects(*arguments: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    done = render(*arguments, values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]
