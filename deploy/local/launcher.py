"""`make up`: the whole of Parley on one machine, with embedded stores and a demo agent that needs no account and no key."""

import argparse
import asyncio
import signal
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from deploy.demo.agent import demo_config, demo_passages
from deploy.local.processes import port_is_free
from deploy.local.stack import Size, Stack, user_environment
from deploy.local.state import DirectoryTaken, LocalState, write_private
from deploy.local.stores import StoreError
from deploy.local.supervisor import Child, StartError, Supervisor
from shared.contracts.errors import ApiError
from shared.contracts.keys import NewKey, Scope, digest_of
from shared.history_client import HistoryClient

WORKSPACE: Final = "demo"
AGENT_ID: Final = "agt_000000000000000000000p1zza"
# The order in which they are stopped: the public first, what the others lean on last.
GROUPS: Final = ("gateway", "worker", "history", "model", "mongodb", "redis")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """PARLEY_GATEWAYS, PARLEY_WORKERS and PARLEY_HISTORIES are the counts where no option says otherwise."""
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=8080, help="public port that all gateways share (default 8080; 0: any)"
    )
    for group, count in (("gateways", 1), ("workers", 2), ("histories", 1)):
        given = environment.get(f"PARLEY_{group.upper()}") or str(count)
        parser.add_argument(
            f"--{group}", type=_at_least_one, default=given, metavar="N", help=f"how many {group} (default {count})"
        )
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".parley"), metavar="DIR", help="data, logs and the key (default .parley)"
    )
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="written as JSON when all is ready, and kept current"
    )
    return parser.parse_args(arguments)


def _at_least_one(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64")
    return number


class Launcher:
    """One run of `make up`."""

    def __init__(self, stack: Stack, ready_file: Path | None) -> None:
        self._stack = stack
        self._ready_file = ready_file
        self._ready = False
        self._secret = ""
        self._supervisor = Supervisor(self._on_event, {group: [] for group in GROUPS})

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises StartError, ApiError when the stack does not come up."""
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        finally:
            await self._stop(starting, stopping)

    async def _start(self) -> None:
        stack = self._stack
        await self._start_all(stack.first_commands())
        await self._start_all(stack.service_commands())
        async with HistoryClient(stack.history_urls, stack.internal_token, timeout_s=15.0) as history:
            await self._publish(history)
            self._secret = await self._key(history)
        self._ready = True
        self._write_ready_file()
        say(banner(stack, self._secret))

    async def _start_all(self, commands: Sequence[tuple[str, Any]]) -> None:
        children = [self._supervisor.add(group, command) for group, command in commands]
        await asyncio.gather(*(child.start() for child in children))

    async def _publish(self, history: HistoryClient) -> None:
        """History keeps the version that stands when neither the configuration nor a passage has changed."""
        config = demo_config(self._stack.model_url, self._stack.demo_model)
        await history.put_agent(WORKSPACE, AGENT_ID, config)
        await history.publish_agent(WORKSPACE, AGENT_ID, demo_passages())

    async def _key(self, history: HistoryClient) -> str:
        """The key of the last start, if this database still knows it."""
        secret = self._stack.state.secret_key
        if secret is not None:
            with suppress(ApiError):
                await history.resolve_key(digest_of(secret))
                return secret
        scopes = frozenset(Scope) - {Scope.CHAT_PUBLIC}
        created = await history.create_key(
            NewKey(workspace=WORKSPACE, name="make up", scopes=scopes, environment="test")
        )
        self._stack.state.secret_key = created.secret
        return created.secret

    async def _stop(self, *tasks: "asyncio.Task[Any]") -> None:
        self._ready = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._supervisor.kill)
        say("Stopping; once more Ctrl-C does not wait for running turns.")
        await self._supervisor.stop()

    # --- what is told

    def _on_event(self, event: str, child: Child) -> None:
        if event == "ended":
            say(f"{child.name} ended with {child.exit_code} and is started again; see {child.command.log}")
        elif event == "ready":
            say(f"{child.name} is ready again (pid {child.pid})")
        if self._ready and event != "ended":
            self._write_ready_file()

    def _write_ready_file(self) -> None:
        if self._ready_file is not None:
            write_private(self._ready_file.resolve(), self._facts())

    def _facts(self) -> dict[str, Any]:
        """What other programs need: tests, benchmarks, chaos runs."""
        stack, pids = self._stack, self._supervisor.pids
        return {
            "baseUrl": stack.base_url,
            "gateways": stack.gateway_urls,
            "secretKey": self._secret,
            "agentId": AGENT_ID,
            "workspace": WORKSPACE,
            "pids": {
                **{group: pids(group) for group in ("gateway", "worker", "history")},
                **{group: next(iter(pids(group)), None) for group in ("redis", "mongodb", "model")},
            },
            "redisUrl": stack.redis_url,
            "mongodbUri": stack.mongodb_uri,
            "historyUrls": stack.history_urls,
            "internalToken": stack.internal_token,
            "modelUrl": stack.model_url,
            "metrics": {
                "gateway": [f"{url}/metrics" for url in stack.gateway_urls],
                "worker": [f"{url}/metrics" for url in stack.worker_urls],
                "history": [f"{url}/metrics" for url in stack.history_urls],
            },
        }


def banner(stack: Stack, secret: str) -> str:
    """What to paste first."""
    api = f"{stack.base_url}/api/v1"
    model = (
        stack.demo_model
        or "demo/extractive (a stand-in that quotes; put a real one behind it with PARLEY_MODEL_BASE_URL and PARLEY_MODEL)"
    )
    return textwrap.dedent(f"""
        Parley is ready.

          API     {api}
          key     {secret}
          agent   {AGENT_ID}  (Mia's Pizza)
          model   {model}
          logs    {stack.logs}

        Ask it something:

          curl -N {api}/chat/completions \\
            -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\
            -d '{{"model": "{AGENT_ID}", "stream": true, "messages": [{{"role": "user", "content": "Do you deliver to 80202?"}}]}}'

        The same with the OpenAI library:

          from openai import OpenAI
          client = OpenAI(base_url="{api}", api_key="{secret}")
          messages = [{{"role": "user", "content": "Where is order 1042?"}}]
          print(client.chat.completions.create(model="{AGENT_ID}", messages=messages).choices[0].message.content)

        A durable session:

          curl {api}/chat/sessions -H 'Authorization: Bearer {secret}' \\
            -H 'Content-Type: application/json' -d '{{"agentId": "{AGENT_ID}"}}'

        Ctrl-C ends everything; the data stays in {stack.state.data_dir}.
    """)


def say(text: str) -> None:
    print(text, flush=True)


async def main(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    environment = user_environment()
    if environment.get("PARLEY_MODEL_BASE_URL") and not environment.get("PARLEY_MODEL"):
        raise StartError(
            "PARLEY_MODEL_BASE_URL is set, PARLEY_MODEL is not: name the model that the demo agent shall use"
        )
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)
    state = LocalState(options.data_dir)
    try:
        if options.port and not port_is_free(options.port):
            raise StartError(f"port {options.port} is taken; choose another with --port, or 0 for any")
        async with aiohttp.ClientSession() as http:
            size = Size(
                gateways=options.gateways, workers=options.workers, histories=options.histories, port=options.port
            )
            say(f"Starting Parley in {state.data_dir} ...")
            await Launcher(Stack(state, size, environment, http), options.ready_file).run(stop)
    finally:
        state.close()


def cli(arguments: Sequence[str]) -> int:
    try:
        asyncio.run(main(parse(arguments, user_environment())))
    except (StartError, StoreError, DirectoryTaken) as error:
        say(f"Parley did not start: {error}")
        return 1
    except ApiError as error:
        say(f"Parley did not start: history refused to set the demo agent up ({error.code}).")
        return 1
    return 0
