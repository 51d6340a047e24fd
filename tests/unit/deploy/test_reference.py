"""What is generated from code is current, and what must agree with it does."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from deploy.reference.settings import CLI, LOCAL, SECTIONS
from shared.contracts.errors import MEANINGS, Code
from shared.contracts.frame_types import FRAME_TYPES
from shared.contracts.frames import TERMINAL_EVENTS
from shared.known_variables import COMMANDS, SETTINGS
from shared.version import VERSION

ROOT: Final = Path(__file__).parents[3]


def test_the_generated_files_are_current() -> None:
    command = [sys.executable, "-m", "deploy.reference", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_known_variables_are_those_of_the_settings_classes() -> None:
    """A new setting: add its name to `shared/known_variables.py`."""
    assert {name.upper() for _, settings in SECTIONS for name in settings.model_fields} == SETTINGS
    assert {name for name, _, _ in (*LOCAL, *CLI)} == COMMANDS


def test_every_setting_says_what_it_is() -> None:
    fields = {name: field for _, settings in SECTIONS for name, field in settings.model_fields.items()}
    assert not [name for name, field in fields.items() if not field.description]


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Code)


def test_the_terminal_frames_are_those_of_the_table() -> None:
    assert {name for name, kind in FRAME_TYPES.items() if kind.terminal} == TERMINAL_EVENTS


def test_there_is_one_version_number() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "shared.version.VERSION"}
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION
