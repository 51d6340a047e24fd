"""One run of `make up`: starts the processes in order, sets the demo agent up, and stops everything in order."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from deploy.demo.agent import AGENT_ID, WORKSPACE, demo_checks, demo_config, demo_widget
from deploy.demo.page import shop_page
from deploy.local.demo_sources import add_demo_sources
from deploy.local.ready_file import facts
from deploy.local.stack import Stack
from deploy.local.state import write_private
from deploy.local.supervisor import Child, Supervisor
from deploy.local.terminal import banner, say
from shared.contracts.checks import PutChecks
from shared.contracts.errors import ApiError
from shared.contracts.keys import NewKey, Publishable, Scope, digest_of
from shared.contracts.widget import WidgetSettings
from shared.history_client import HistoryClient

# The order of stopping: the public processes first, the stores that the others use last.
STOPPED: Final = (("gateway",), ("worker", "ingest"), ("history",), ("model", "mongodb", "redis"))


class Launcher:
    def __init__(self, stack: Stack, ready_file: Path | None) -> None:
        self._stack = stack
        self._ready_file = ready_file
        self._ready = False
        self._secret = ""
        self._supervisor = Supervisor(self._on_event, {group: [] for groups in STOPPED for group in groups})

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`. Raises StartError or ApiError when the stack does not come up."""
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
        """The gateways come last: when one says that it is ready, the key file exists and the key works."""
        stack = self._stack
        await self._start_all(stack.first_commands())
        await self._start_all(stack.history_commands())
        workers = [asyncio.create_task(self._start_all(stack.worker_commands()))]
        try:
            async with HistoryClient(stack.history_urls, stack.internal_token, timeout_s=15.0) as history:
                await self._feed(history)
                # No sooner: it would read the demo's documents in its own way, and other passages would be published.
                workers.append(asyncio.create_task(self._start_all(stack.ingest_commands())))
                await self._publish(history)
                self._secret = self._stack.state.secret_key = await self._key(history)
                stack.demo_page.write_text(shop_page(stack.base_url, await self._widget_key(history)), "utf-8")
            stack.state.note_running(stack.base_url, stack.database)
            await self._start_all(stack.gateway_commands())
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        self._ready = True
        self._write_ready_file()
        say(banner(stack, self._secret))

    async def _start_all(self, commands: Sequence[tuple[str, Any]]) -> None:
        children = [self._supervisor.add(group, command) for group, command in commands]
        await asyncio.gather(*(child.start() for child in children))

    async def _feed(self, history: HistoryClient) -> None:
        config = demo_config(self._stack.model_url, self._stack.demo_model)
        await history.put_agent(WORKSPACE, AGENT_ID, config)
        await add_demo_sources(history)

    async def _publish(self, history: HistoryClient) -> None:
        """History keeps the published version when neither the configuration nor a source has changed."""
        await history.publish_agent(WORKSPACE, AGENT_ID, ())
        await history.put_checks(WORKSPACE, AGENT_ID, PutChecks(suite=demo_checks()))
        await self._dress_widget(history)

    async def _dress_widget(self, history: HistoryClient) -> None:
        """A greeting and questions to begin with. Settings that somebody has made stay."""
        # Nothing else needs them, so an earlier release's history, which refuses the request, is no reason to stop.
        with suppress(ApiError):
            found = await history.widget(WORKSPACE, AGENT_ID)
            if WidgetSettings.model_validate(found.settings) == WidgetSettings():
                await history.put_widget(WORKSPACE, AGENT_ID, demo_widget())

    async def _key(self, history: HistoryClient) -> str:
        """The key of the last start, if this database still knows it."""
        secret = self._stack.state.secret_key
        if secret is not None:
            with suppress(ApiError):
                await history.resolve_key(digest_of(secret))
                return secret
        scopes = frozenset(Scope) - {Scope.CHAT_PUBLIC}
        key = NewKey(workspace=WORKSPACE, name="make up", scopes=scopes, environment="test")
        return (await history.create_key(key)).secret

    async def _widget_key(self, history: HistoryClient) -> str:
        """For the demo page, which has the origin of the demo process."""
        origin, state = self._stack.model_url, self._stack.state
        secret = state.widget_key(origin)
        if secret is not None:
            with suppress(ApiError):
                await history.resolve_key(digest_of(secret))
                return secret
        scopes = frozenset({Scope.CHAT_PUBLIC})
        key = NewKey(workspace=WORKSPACE, name="the demo page", scopes=scopes, environment="test")
        made = await history.create_key(key, Publishable(agent_id=AGENT_ID, allowed_origins=(origin,)))
        state.keep_widget_key(origin, made.secret)
        return made.secret

    async def _stop(self, *tasks: "asyncio.Task[Any]") -> None:
        self._ready = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._supervisor.kill)
        say("Stopping. Press Ctrl-C again to end running turns at once.")
        await self._supervisor.stop(*STOPPED)

    def _on_event(self, event: str, child: Child) -> None:
        if event == "ended":
            say(f"{child.name} ended with {child.exit_code} and is restarted; see {child.command.log}")
        elif event == "ready":
            say(f"{child.name} is ready again (pid {child.pid})")
        if self._ready and event != "ended":
            self._write_ready_file()

    def _write_ready_file(self) -> None:
        if self._ready_file is not None:
            write_private(self._ready_file.resolve(), facts(self._stack, self._supervisor, self._secret))
