"""The command line as a whole: its help, its completion, and how it ends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deploy.cli.__main__ import parley
from deploy.cli.exits import MEANINGS, Exit

ROOT = Path(__file__).parents[4]


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    command = [sys.executable, "-P", "-m", "deploy.cli", *arguments]
    env = {**own, "PYTHONPATH": str(ROOT), "PARLEY_CONFIG": "/nowhere/config.json", **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def commands(group: click.Group, *above: str) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*above, name), command))
        if isinstance(command, click.Group):
            found += commands(command, *above, name)
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(parley), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_says_what_it_does_and_every_option_too(path: tuple[str, ...], command: click.Command) -> None:
    assert (command.help or "").strip()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.name in {"name", "days", "form"}, (path, parameter.name)


@pytest.mark.parametrize(
    ("path", "command"), commands(parley), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_no_two_parameters_of_a_command_share_a_name(path: tuple[str, ...], command: click.Command) -> None:
    names = [parameter.name for parameter in command.params]
    flags = [flag for parameter in command.params if isinstance(parameter, click.Option) for flag in parameter.opts]
    assert (len(set(names)), len(set(flags))) == (len(names), len(flags)), path


def test_no_summary_in_a_list_of_commands_is_cut_at_80_columns() -> None:
    groups = [((), parley), *((path, found) for path, found in commands(parley) if isinstance(found, click.Group))]
    for path, group in groups:
        text = group.get_help(click.Context(group, info_name=" ".join(("parley", *path)), terminal_width=80))
        assert [line for line in text.splitlines() if line.startswith("  ") and line.endswith("...")] == [], path


def test_every_exit_code_has_a_meaning_and_the_help_lists_it() -> None:
    assert set(MEANINGS) == set(Exit)
    text = run("--help").stdout
    assert [code for code in Exit if f"{int(code):>3}  {MEANINGS[code]}" not in text] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shells_completion_script_is_printed(shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, "_PARLEY_COMPLETE" in done.stdout) == (0, True)


def test_words_are_completed() -> None:
    done = run(_PARLEY_COMPLETE="bash_complete", COMP_WORDS="parley agents pub", COMP_CWORD="2")
    assert done.stdout == "plain,publish\n"


def test_wrong_options_end_with_2_and_without_a_traceback() -> None:
    done = run("agents", "list", "--wrong")
    assert (done.returncode, "Traceback" in done.stderr, "--wrong" in done.stderr) == (2, False, True)


def test_a_reader_that_has_enough_is_no_error_message() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = f"{sys.executable} -P -m deploy.cli --help | true"
    done = subprocess.run(
        [bash, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.stderr == b""
