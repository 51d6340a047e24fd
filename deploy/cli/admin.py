"""`parley admin …`: an operator's first steps in a new deployment, before there is a key.

The commands call history's internal API. They read PARLEY_HISTORY_URL and PARLEY_INTERNAL_TOKEN, or with --local the
address and the token of the stack that `make up` runs.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from pydantic import ValidationError

from deploy.cli.agent_source import BESIDE_DRAFT
from deploy.cli.exits import LOCAL_HINT, CliError, Exit
from deploy.cli.yaml_file import YamlError, read_yaml
from deploy.demo.agent import passages_of
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import MAX_WEIGHT, NewKey, Scope
from shared.history_client import HistoryClient
from shared.ids import is_id, is_name, new_id
from shared.settings import Settings, SettingsError


def workspace_name(_: click.Context, __: click.Parameter, text: str) -> str:
    if not is_name(text):
        raise click.BadParameter("a workspace's name has 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return text


def agent_id(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """The API's routes accept no other ids."""
    if text is not None and not is_id("agt", text):
        raise click.BadParameter("an agent's id is agt_ and 26 characters, as `publish` prints it")
    return text


@click.group("admin")
@click.option("--local", type=click.Path(path_type=Path), metavar="DIR", help="Data directory of a running `make up`.")
@click.pass_context
def admin(context: click.Context, local: Path | None) -> None:
    """For operators: the first key, and agents before there is one.

    These commands call history's internal API: they read PARLEY_HISTORY_URL and PARLEY_INTERNAL_TOKEN, or --local.
    """
    context.obj = local


@admin.command("create-key")
@click.argument("workspace", callback=workspace_name)
@click.option("--name", default="first key", show_default=True, help="What the key is for.")
@click.option("--retry-guard", is_flag=True, help="An OpenAI SDK's blind retry gets the turn that it repeats.")
@click.option(
    "--weight",
    type=click.IntRange(1, MAX_WEIGHT),
    default=1,
    show_default=True,
    help="Turns that the key gets each time when the keys with waiting turns are served in turn.",
)
@click.pass_obj
def create_key(local: Path | None, workspace: str, name: str, *, retry_guard: bool, weight: int) -> None:
    """Print a new secret key with all scopes of WORKSPACE. It is shown once."""
    scopes = frozenset(Scope) - {Scope.CHAT_PUBLIC}
    key = NewKey(workspace=workspace, name=name, scopes=scopes, retry_guard=retry_guard, weight=weight)
    click.echo(with_history(local, lambda history: history.create_key(key)).secret)


@admin.command("publish")
@click.argument("workspace", callback=workspace_name)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--documents", type=click.Path(path_type=Path), help="A folder of Markdown files to quote from.")
@click.option("--agent", callback=agent_id, help="The id of an existing agent; without it, a new one is created.")
@click.pass_obj
def publish(local: Path | None, workspace: str, config: Path, documents: Path | None, agent: str | None) -> None:
    """Create or replace an agent, publish it, and print its id.

    CONFIG is YAML or JSON, in the shape of deploy/demo/agent.yaml. Each second-level section of a document is a
    passage.
    """
    checked = _config(config)
    passages = passages_of(documents) if documents else []
    wanted = agent or new_id("agt")

    async def run(history: HistoryClient) -> int:
        await history.put_agent(workspace, wanted, checked)
        return (await history.publish_agent(workspace, wanted, passages)).number

    click.echo(f"{wanted} version {with_history(local, run)}")


def _config(file: Path) -> AgentConfig:
    try:
        value = read_yaml(file.read_bytes()).value
        members = {name: member for name, member in value.items() if name not in BESIDE_DRAFT}
        return AgentConfig.model_validate(members)
    except YamlError as error:
        raise CliError(f"{file}:{error.line}: {error.message}", Exit.BAD_FILE) from None
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}", Exit.BAD_FILE) from None
    except ValidationError as error:
        lines = [f"{file}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise CliError("\n".join(lines), Exit.BAD_FILE) from None
    except AttributeError:
        raise CliError(f"{file}: the file must be a mapping", Exit.BAD_FILE) from None


def with_history(local: Path | None, work: Callable[[HistoryClient], Awaitable[Any]]) -> Any:
    urls, token, tls = address(local)

    async def run() -> Any:
        async with HistoryClient(urls, token, timeout_s=15.0, tls=tls) as history:
            return await work(history)

    try:
        return asyncio.run(run())
    except ApiError as error:
        raise _refused(error) from None


def _refused(error: ApiError) -> CliError:
    if error.code is Code.DEPENDENCY_UNAVAILABLE:
        return CliError("history does not answer: is PARLEY_HISTORY_URL right, and does it run?", Exit.UNAVAILABLE)
    return CliError(f"history refused it: {error.detail} ({error.code})")


def address(local: Path | None) -> tuple[Sequence[str], str, ssl.SSLContext | None]:
    """History's base URLs, the internal token, and the TLS of the internal API."""
    if local is None:
        try:
            settings = Settings.load()
        except SettingsError as error:
            raise CliError(f"{error}\n{LOCAL_HINT}", Exit.USAGE) from None
        return settings.history_urls, settings.internal_token.get_secret_value(), settings.history_tls
    try:
        state = orjson.loads((local / "state.json").read_bytes())
        return [f"http://127.0.0.1:{state['ports']['history-1']}"], state["internalToken"], None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise CliError(f"{local} is not the data directory of a running `make up`", Exit.BAD_FILE) from None
