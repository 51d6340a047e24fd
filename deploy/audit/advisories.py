"""Looks the locked packages up in a source of advisories, by pip-audit."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

TIMEOUT_S: Final = "10"
SKIPPED: Final = (
    "audit: SKIPPED: no source of advisories can be reached from here. Run `make audit` on a machine with one."
)


class Verdict(NamedTuple):
    """`status` is the program's: 1 if there is something to do."""

    status: int
    lines: Sequence[str]


def audited(python: Path, requirements: str) -> Verdict:
    """The requirements have hashes, so nothing is resolved or installed."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        options = [
            "--disable-pip",
            "--require-hashes",
            "--progress-spinner",
            "off",
            "--timeout",
            TIMEOUT_S,
            "-f",
            "json",
        ]
        done = subprocess.run(
            [str(python), "-I", "-m", "pip_audit", *options, "-r", file.name],
            capture_output=True,
            text=True,
            check=False,
        )
    sys.stderr.write(done.stderr[-2000:] if done.returncode not in (0, 1) else "")
    try:
        report: Mapping[str, Any] | None = json.loads(done.stdout)
    except ValueError:
        report = None  # It broke off: the source did not answer, or the tool is broken.
    return verdict(report)


def verdict(report: Mapping[str, Any] | None) -> Verdict:
    """Of pip-audit's report. Without a source that answers there is nothing to fail for.

    A machine without a way out must be able to run `make check`. A package that only the source does not know is told.
    """
    packages: Sequence[Mapping[str, Any]] = report.get("dependencies", ()) if report is not None else ()
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return Verdict(0, [SKIPPED])
    lines = [f"audit: {len(known)} packages were looked up"]
    lines += [f"audit: not looked up: {package['name']}" for package in packages if "skip_reason" in package]
    faults = [line for package in known for line in _faults(package)]
    return Verdict(1 if faults else 0, [*lines, *(faults or ["audit: no known vulnerability"])])


def _faults(package: Mapping[str, Any]) -> list[str]:
    name = f"{package['name']} {package['version']}"
    return [
        f"audit: {name}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no release yet'}"
        for fault in package.get("vulns", ())
    ]
