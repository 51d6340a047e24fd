"""An operator's first steps in a new deployment: create a workspace's first key, publish an agent.

The commands call history's internal API. They read PARLEY_HISTORY_URL and PARLEY_INTERNAL_TOKEN, or with --local the
address and the token of the stack that `make up` runs.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from deploy.demo.agent import passages_of
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError
from shared.contracts.keys import NewKey, Scope
from shared.history_client import HistoryClient
from shared.ids import is_id, is_name, new_id
from shared.settings import Settings


def workspace_name(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError("a workspace's name has 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return text


def agent_id(text: str) -> str:
    """The API's routes accept no other ids."""
    if not is_id("agt", text):
        raise argparse.ArgumentTypeError("an agent's id is agt_ and 26 characters, as `publish` prints it")
    return text


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.cli.admin", description=__doc__)
    parser.add_argument(
        "--local", type=Path, metavar="DIR", help="data directory of a running `make up`, usually .parley"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    key = commands.add_parser("create-key", help="print a new secret key with all scopes of a workspace")
    key.add_argument("workspace", type=workspace_name)
    key.add_argument("--name", default="first key")
    key.add_argument(
        "--retry-guard", action="store_true", help="an OpenAI SDK's blind retry gets the turn that it repeats"
    )
    agent = commands.add_parser("publish", help="create or replace an agent, publish it and print its id")
    agent.add_argument("workspace", type=workspace_name)
    agent.add_argument("config", type=Path, help="JSON, in the shape of deploy/demo/agent.json")
    agent.add_argument(
        "--documents", type=Path, help="folder of Markdown files; each second-level section becomes a passage"
    )
    agent.add_argument("--agent", type=agent_id, help="id of an existing agent; without it, a new agent is created")
    return parser.parse_args(arguments)


async def create_key(history: HistoryClient, options: argparse.Namespace) -> str:
    scopes = frozenset(Scope) - {Scope.CHAT_PUBLIC}
    key = NewKey(workspace=options.workspace, name=options.name, scopes=scopes, retry_guard=options.retry_guard)
    return (await history.create_key(key)).secret


async def publish(history: HistoryClient, options: argparse.Namespace) -> str:
    config = AgentConfig.model_validate(orjson.loads(options.config.read_bytes()))
    agent = options.agent or new_id("agt")
    await history.put_agent(options.workspace, agent, config)
    version = await history.publish_agent(
        options.workspace, agent, passages_of(options.documents) if options.documents else []
    )
    return f"{agent} version {version.number}"


def address(local: Path | None) -> tuple[Sequence[str], str]:
    """History's base URLs and the internal token."""
    if local is not None:
        state = orjson.loads((local / "state.json").read_bytes())
        return [f"http://127.0.0.1:{state['ports']['history-1']}"], state["internalToken"]
    settings = Settings.load_or_exit()
    return settings.history_urls, settings.internal_token.get_secret_value()


async def main(options: argparse.Namespace) -> int:
    urls, token = address(options.local)
    async with HistoryClient(urls, token, timeout_s=15.0) as history:
        try:
            result = await (create_key if options.command == "create-key" else publish)(history, options)
        except ApiError as error:
            sys.stderr.write(f"refused: {error.code}\n")
            return 1
    sys.stdout.write(result + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
