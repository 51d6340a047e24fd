"""A stack of one process each, of any release, whose messages are noted: the calls of history, and all of Redis."""

import asyncio
import dataclasses
import signal
from base64 import b64encode
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from redis.asyncio import Redis

from deploy.local.processes import free_port
from deploy.local.stack import Size, Stack, user_environment
from deploy.local.state import LocalState
from deploy.local.supervisor import Child, Command, Supervisor
from tests.conftest import eventually
from tests.contracts.tap import Tap
from tests.system.upgrade.release import Release

GROUPS: Final = ("gateway", "worker", "ingest", "history", "model", "mongodb", "redis")
# Not a secret: recorded documents hold values that are sealed with it.
SEALING_KEY: Final = b64encode(sha256(b"the sealing key of recorded messages").digest()).decode()
# One turn at a time: so a scene decides which turns wait.
SETTINGS: Final = {
    "PARLEY_SECRETS_KEYS": SEALING_KEY,
    "PARLEY_MAX_TURNS": "1",
    "PARLEY_LEASE_S": "2",
    "PARLEY_DRAIN_S": "1",
    "PARLEY_LOG_KEEP_S": "3600",
    "PARLEY_REQUESTS_PER_MINUTE": "1000000",
    "PARLEY_DEMO_DELAY_MS": "2",
    # The scenes' receiver of webhooks: nothing listens there.
    "PARLEY_WEBHOOK_ALLOW": "127.0.0.1",
    "PARLEY_WEBHOOK_PORTS": "9",
}


class Rig:
    """An async context: inside it everything is ready. `release` None: the working tree's services."""

    def __init__(self, directory: Path, release: Release | None) -> None:
        self.calls: list[dict[str, Any]] = []
        self.published: list[tuple[str, str]] = []
        self.children: dict[str, Child] = {}
        self._directory = directory
        self._release = release
        self._ready: set[str] = set()
        self._supervisor = Supervisor(self._on_event, {group: [] for group in GROUPS})
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def _start(self) -> None:
        state = LocalState(self._directory)
        self._open.callback(state.close)
        self.http = await self._open.enter_async_context(aiohttp.ClientSession())
        given = {name: value for name, value in user_environment().items() if not name.startswith("PARLEY_")}
        self.stack = Stack(
            state, Size(gateways=1, workers=1, histories=1, port=free_port()), given | SETTINGS, self.http
        )
        self._open.push_async_callback(self._stop)
        await self.start(self.stack.first_commands())
        self.redis = await self._open.enter_async_context(Redis.from_url(self.stack.redis_url))
        await self._listen()

    async def start(self, commands: list[tuple[str, Command]]) -> None:
        started = [self._supervisor.add(group, command) for group, command in commands]
        self.children |= {child.name: child for child in started}
        await asyncio.gather(*(child.start() for child in started))
        self._ready |= {child.name for child in started}

    async def start_services(self) -> None:
        """Apart from the stores' start: a test may put earlier data into them."""
        commands = [(group, await self._tapped(command)) for group, command in self.stack.service_commands()]
        await self.start(commands)

    async def _tapped(self, command: Command) -> Command:
        env = dict(command.env or {})
        if not command.name.startswith("history"):
            caller = command.name.partition("-")[0]
            tap = await self._open.enter_async_context(Tap(caller, self.stack.history_urls[0], self.calls))
            env["PARLEY_HISTORY_URL"] = f"http://127.0.0.1:{tap.port}"
        tapped = dataclasses.replace(command, env=env)
        return self._release.of(tapped) if self._release is not None else tapped

    async def _listen(self) -> None:
        pubsub = self.redis.pubsub()
        await pubsub.psubscribe("*")
        self._open.push_async_callback(pubsub.aclose)
        task = asyncio.create_task(self._note(pubsub))
        self._open.push_async_callback(_end, task)

    async def _note(self, pubsub: Any) -> None:
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                self.published.append((message["channel"].decode(), message["data"].decode()))

    def send(self, name: str, number: signal.Signals) -> None:
        self.children[name].signal(number)

    async def restart(self, name: str, number: signal.Signals) -> None:
        """Ends the process; returns when its successor is ready."""
        self._ready.discard(name)
        self.send(name, number)
        await eventually(lambda: name in self._ready, within_s=40.0, what=f"{name} again")

    def _on_event(self, event: str, child: Child) -> None:
        if event == "ready":
            self._ready.add(child.name)

    async def _stop(self) -> None:
        for child in self.children.values():
            child.signal(signal.SIGCONT)
        await self._supervisor.stop()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
