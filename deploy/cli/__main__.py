"""`parley`, the command line: `python -m deploy.cli`, and `.venv/bin/parley` from any folder."""

import os
import sys
from typing import Final

import click
from click.shell_completion import get_completion_class

from deploy.cli.admin import admin
from deploy.cli.agents import agents
from deploy.cli.backups import backup, migrate, restore
from deploy.cli.chat import chat
from deploy.cli.check_runs import check
from deploy.cli.commands import api_command
from deploy.cli.doctor import doctor
from deploy.cli.end_users import end_users
from deploy.cli.exits import MEANINGS, CliError, Exit
from deploy.cli.keys import keys
from deploy.cli.knowledge import knowledge
from deploy.cli.sessions import sessions
from deploy.cli.status import login, logout, profiles, status
from deploy.cli.usage import register as register_usage
from deploy.cli.versions import publish, rollback, versions
from deploy.cli.webhooks import webhooks
from deploy.cli.workspaces import workspaces
from shared.version import VERSION

EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="parley")
def parley() -> None:
    """Agents from files, conversations at the terminal, and what operators need.

    Begin with `parley login`: it keeps a server's URL and a key. PARLEY_URL and PARLEY_API_KEY win over what it kept.
    `parley COMMAND --help` says more.
    """


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    In bash, `eval "$(parley completion bash)"` uses it.
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(parley, {}, "parley", "_PARLEY_COMPLETE").source())


def _add_chat() -> None:
    command = api_command(parley, "chat")(chat)
    command.params += [
        click.Argument(["agent"]),
        click.Option(["--session"], metavar="ID", help="Go on with this session."),
        click.Option(["-m", "--message"], help="Ask this, show the answer and leave."),
        click.Option(["--draft"], is_flag=True, help="Talk to the draft, not to the published version."),
    ]


_add_chat()
register_usage(parley)
api_command(parley, "status")(status)
for command in (check, publish, versions, rollback):
    agents.add_command(command)
for command in (
    agents,
    knowledge,
    sessions,
    end_users,
    keys,
    webhooks,
    workspaces,
    login,
    logout,
    profiles,
    doctor,
    backup,
    restore,
    migrate,
    admin,
    completion,
):
    parley.add_command(command)


def main() -> int:
    """The exit code."""
    try:
        result = parley.main(prog_name="parley", standalone_mode=False)
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except click.Abort:
        return int(Exit.INTERRUPTED)
    except CliError as error:
        error.show()
        return int(error.exit)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader has enough (`parley … | head`). Python must not complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FAILED)
    return result if isinstance(result, int) else int(Exit.OK)


if __name__ == "__main__":
    sys.exit(main())
