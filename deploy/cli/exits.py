"""How `parley` ends: its exit codes, and the errors that carry one. An error is one line on standard error."""

from enum import IntEnum
from typing import IO, Any

import click


class Exit(IntEnum):
    """Exit codes are promises to scripts: add, don't change. 130 stands for Ctrl-C."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_FILE = 3
    KEY_REFUSED = 4
    UNAVAILABLE = 5
    CONFLICT = 6
    NOT_FOUND = 7
    OTHER_VERSION = 8
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "it worked",
    Exit.FAILED: "the server refused it, a version or a turn failed, or `diff --exit-code` found differences",
    Exit.USAGE: "wrong options or arguments, or a question without a terminal to ask it on",
    Exit.BAD_FILE: "agent.yaml or the configuration file is not valid",
    Exit.KEY_REFUSED: "no key, a wrong one, or one without the scope",
    Exit.UNAVAILABLE: "no server, or it cannot serve at the moment",
    Exit.CONFLICT: "the draft was changed on the server meanwhile",
    Exit.NOT_FOUND: "no such agent, version or session",
    Exit.OTHER_VERSION: "the server is of another version and does not know the request",
    Exit.INTERRUPTED: "Ctrl-C",
}


# Of commands that open a deployment's own stores or history.
LOCAL_HINT = "for the stack that `make up` runs, give --local .parley"


class CliError(click.ClickException):
    """Lines for a person, and the exit code."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo("\n".join(f"parley: {line}" for line in self.message.splitlines()), file=file, err=file is None)
