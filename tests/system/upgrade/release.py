"""An earlier release of these services: its files, taken out of the repository, and the variables that it knows."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple, Self

import pytest

from deploy.local.supervisor import Command
from shared.known_variables import PREFIX
from tests.system.stack import ROOT

# v0.1.0 by its commit: a clone may have no tags.
FIRST: Final = "93141e59df1b12ee27277580e156c2a494aa2d77"
_NAMES: Final = "from shared.known_variables import COMMANDS, SETTINGS; print(*sorted(COMMANDS | SETTINGS))"


class Release(NamedTuple):
    tree: Path
    variables: frozenset[str]

    @classmethod
    def checked_out(cls, commit: str, tree: Path) -> Self:
        """Into the new directory `tree`. Skips the test in a copy of the repository that does not have the commit."""
        look = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
        if subprocess.run(look, cwd=ROOT, check=False, capture_output=True).returncode != 0:
            pytest.skip(f"this copy of the repository lacks commit {commit[:12]}: fetch its whole history")
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
        return cls(tree, _known_in(tree))

    def of(self, command: Command) -> Command:
        """The same process of this release. It refuses variables that it does not know, so they are left out."""
        known = {
            name: value
            for name, value in (command.env or {}).items()
            if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in self.variables
        }
        return dataclasses.replace(command, cwd=self.tree, env=known)


def _known_in(tree: Path) -> frozenset[str]:
    """Asked in a process of its own: this one has loaded the packages of these names from the working tree."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    told = subprocess.run([sys.executable, "-c", _NAMES], cwd=tree, env=own, check=True, capture_output=True, text=True)
    return frozenset(told.stdout.split())
