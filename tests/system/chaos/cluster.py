"""The stack of a chaos run: processes, stores with test commands, and in front of each a link that can be disturbed."""

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from deploy.local.processes import free_port
from deploy.local.stack import Size, Stack, user_environment
from deploy.local.state import LocalState
from deploy.local.stores import Store, mongodb_store
from deploy.local.supervisor import Child, Command, Supervisor
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.budgets import Allowance, StoreBudget, Subject
from shared.contracts.keys import NewKey, Scope
from shared.history_client import HistoryClient
from shared.ids import new_id
from tests.system.chaos.link import Link
from tests.system.chaos.questions import AGENTS, model_name
from tests.system.chaos.redis_servers import RedisChoice, RedisServers
from tests.system.upgrade.release import Release

WORKSPACE: Final = "chaos"
DATABASE: Final = "chaos"
EMBEDDED_REDIS: Final = RedisChoice("", watched=False)
GROUPS: Final = ("gateway", "worker", "history", "model", "mongodb", "sentinel", "redis")
AMPLE_TOKENS: Final = 10**12
SERVICES: Final = ("gateway", "worker", "history")
# Soon again, so that a run need not wait for its events.
WEBHOOKS: Final = {
    "PARLEY_WEBHOOK_ALLOW": "127.0.0.1",
    "PARLEY_WEBHOOK_RETRY_S": "0.1",
    "PARLEY_WEBHOOK_TIMEOUT_S": "2",
}


class Cluster:
    """An async context: inside it everything is ready. `mutant` plants a bug in the services (mutant_main.py).

    `release`: the services are those of an earlier release, until they are replaced. `settings` are added to those
    of every process. `reads_sources`: with an ingest worker, for a load with authors of knowledge.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lease_s: float,
        size: Size,
        mutant: str | None = None,
        release: Release | None = None,
        redis: RedisChoice = EMBEDDED_REDIS,
        settings: Mapping[str, str] | None = None,
        reads_sources: bool = False,
    ) -> None:
        self.lease_s = lease_s
        self.agents: dict[str, str] = {}
        self.secret = ""
        self.links: dict[str, Link] = {}
        self.children: dict[str, Child] = {}
        self.gateways: list[str] = []
        self.model_url = ""
        self.histories: list[str] = []
        self.internal_token = ""
        self.metrics: dict[str, list[str]] = {}  # URLs of `/metrics`, by Prometheus' job.
        self.ready_at: dict[str, float] = {}
        self.crashes: list[str] = []
        self._to_end: set[str] = set()
        self._directory = directory
        self._size = size
        self._mutant = mutant
        self._release = release
        self._settings = dict(settings or {})
        self.reads_sources = reads_sources
        self._groups = (*GROUPS, "ingest") if reads_sources else GROUPS
        self._commands: dict[str, Command] = {}
        self._supervisor = Supervisor(self._on_event, {group: [] for group in self._groups})
        self.redis = RedisServers(redis, directory / "redis")
        self._mongodb = mongodb_store(directory / "mongodb", test_commands=True)
        self._open = AsyncExitStack()

    @property
    def mongodb_uri(self) -> str:
        """Not through a link."""
        return self._mongodb.url + "&directConnection=true"

    @property
    def logs(self) -> Path:
        return self._directory / "logs"

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
        http = await self._open.enter_async_context(aiohttp.ClientSession())
        stack = Stack(state, self._size, self._environment(), http)
        self.model_url = stack.model_url
        self.histories, self.internal_token = stack.history_urls, stack.internal_token
        self.metrics = {
            "parley-gateway": stack.gateway_urls,
            "parley-worker": stack.worker_urls,
            "parley-history": stack.history_urls,
        }
        if self.reads_sources:
            self.metrics["parley-ingest"] = [stack.ingest_url]
        self._open.push_async_callback(self._stop)
        await self._start_stores()
        await self._start_all(stack.first_commands())
        commands = [
            (group, await self._linked(group, command, stack.history_urls))
            for group, command in stack.service_commands()
            if group in self._groups
        ]
        await self._start_all(commands)
        for name, url in zip(
            [name for name in self.children if name.startswith("gateway")], stack.gateway_urls, strict=True
        ):
            link = await self._link(f"clients to {name}", int(url.rpartition(":")[2]))
            self.gateways.append(f"http://127.0.0.1:{link.port}/api/v1")
        async with self.history() as history:
            await self._publish(history)

    async def _start_stores(self) -> None:
        if self.redis.watched:
            ports = dict(zip(self.redis.names, self.redis.ports, strict=True))
            self.redis.link_ports = [(await self._link(f"{name} to all", port)).port for name, port in ports.items()]
        servers = [("redis", command) for command in self.redis.servers(self.logs)]
        await self._start_all([*servers, ("mongodb", self._store_command(self._mongodb))])
        if self.redis.watched:
            await self.redis.followed()
            await self._start_all([("sentinel", command) for command in self.redis.sentinels(self.logs)])

    def _environment(self) -> dict[str, str]:
        """The services' settings: nothing of the user's, and tries enough that no turn fails by bad luck."""
        own = {
            "PARLEY_QUEUE_REDIS_URL": self.redis.url,
            "PARLEY_MONGODB_URI": self.mongodb_uri,
            "PARLEY_MONGODB_DATABASE": DATABASE,
            "PARLEY_LEASE_S": str(self.lease_s),
            "PARLEY_DRAIN_S": "3",
            "PARLEY_MAX_TRIES": "40",
            "PARLEY_LOG_KEEP_S": "3600",
            "PARLEY_REQUESTS_PER_MINUTE": "1000000",
        }
        if self.reads_sources:
            own |= {"PARLEY_INGEST_LEASE_S": str(self.lease_s)}
        if self._release is None:  # Old services know no webhooks.
            own |= WEBHOOKS
        ours = {name: value for name, value in user_environment().items() if not name.startswith("PARLEY_")}
        return ours | own | self._settings

    async def _linked(self, group: str, command: Command, history_urls: Sequence[str]) -> Command:
        """The same process, with links of its own to the stores and the histories, and with the planted bug."""
        env = dict(command.env or {})
        env["PARLEY_QUEUE_REDIS_URL"] = env["PARLEY_STREAM_REDIS_URLS"] = await self._redis_url_of(command.name)
        if group == "history":
            mongodb = await self._link(f"{command.name} to mongodb", self._mongodb.port)
            env["PARLEY_MONGODB_URI"] = self.mongodb_uri.replace(f":{self._mongodb.port}/", f":{mongodb.port}/")
        else:
            histories = [
                await self._link(f"{command.name} to history-{number}", int(url.rpartition(":")[2]))
                for number, url in enumerate(history_urls, 1)
            ]
            env["PARLEY_HISTORY_URL"] = ",".join(f"http://127.0.0.1:{link.port}" for link in histories)
        arguments: Sequence[str] = command.arguments
        if self._mutant is not None:
            module = command.arguments.index("-m") + 1
            planted = ("tests.system.chaos.mutant_main", self._mutant, *command.arguments[module:])
            arguments = (*command.arguments[:module], *planted)
        linked = self._commands[command.name] = dataclasses.replace(command, env=env, arguments=arguments)
        return self._release.of(linked) if self._release is not None else linked

    async def _redis_url_of(self, name: str) -> str:
        """Servers behind Sentinel have their own links; a single one has a link for each process."""
        if self.redis.watched:
            return self.redis.url
        link = await self._link(f"{name} to redis", self.redis.ports[0])
        return f"redis://127.0.0.1:{link.port}/0"

    async def _link(self, name: str, port: int) -> Link:
        link = self.links[name] = await self._open.enter_async_context(Link(port))
        return link

    def _store_command(self, store: Store) -> Command:
        store.data_dir.mkdir(parents=True, exist_ok=True)
        return Command(
            name=store.name,
            arguments=store.command,
            log=self.logs / f"{store.name}.log",
            pid_file=self._directory / f"{store.name}.pid",
            probe=lambda: asyncio.to_thread(store.probe),
            cwd=store.data_dir,
        )

    async def _start_all(self, commands: Sequence[tuple[str, Command]]) -> None:
        started = [self._supervisor.add(group, command) for group, command in commands]
        self.children |= {child.name: child for child in started}
        await asyncio.gather(*(child.start() for child in started))
        for child in started:
            self.ready_at[child.name] = time.monotonic()

    async def _publish(self, history: HistoryClient) -> None:
        for agent in AGENTS:
            self.agents[agent] = new_id("agt")
            config = AgentConfig(name=agent, model=ModelChoice(name=model_name(agent)))
            await history.put_agent(WORKSPACE, self.agents[agent], config)
            await history.publish_agent(WORKSPACE, self.agents[agent], [])
        if self._release is not None:
            # Old services know neither budgets nor the scopes of this release.
            scopes = frozenset({Scope.CHAT_READ, Scope.CHAT_WRITE})
            self.secret = (await history.create_key(NewKey(workspace=WORKSPACE, name="chaos", scopes=scopes))).secret
            return
        # Never used up: it makes every turn reserve.
        ample = Allowance(tokens=AMPLE_TOKENS)
        await history.put_budget(WORKSPACE, Subject("workspace", ""), StoreBudget(day=ample, month=ample))
        scopes = frozenset(Scope) - {Scope.CHAT_PUBLIC}
        self.secret = (await history.create_key(NewKey(workspace=WORKSPACE, name="chaos", scopes=scopes))).secret

    async def _stop(self) -> None:
        for child in self.children.values():
            child.signal(signal.SIGCONT)
        await self._supervisor.stop()

    def _on_event(self, event: str, child: Child) -> None:
        if event == "ready":
            self.ready_at[child.name] = time.monotonic()
        elif event == "ended":
            self.ready_at.pop(child.name, None)
            if child.name not in self._to_end:
                self.crashes.append(f"{child.name} ended by itself with {child.exit_code}; see {child.command.log}")
            self._to_end.discard(child.name)

    # --- for tests

    @asynccontextmanager
    async def history(self) -> AsyncIterator[HistoryClient]:
        """Not through a link."""
        async with HistoryClient(self.histories, self.internal_token, timeout_s=15.0) as history:
            yield history

    # --- for faults

    def members(self, group: str) -> list[str]:
        """`mongodb` is a group of one, and `redis` too unless it is behind Sentinel."""
        return [name for name in self.children if name == group or name.startswith(group + "-")]

    def is_ready(self, name: str) -> bool:
        return name in self.ready_at

    def all_ready(self) -> bool:
        return all(self.is_ready(name) for name in self.children)

    def end(self, name: str, number: signal.Signals) -> None:
        """SIGTERM or SIGKILL; the supervisor starts it again. Any other end of a process is a crash."""
        self.ready_at.pop(name, None)
        self._to_end.add(name)
        self.signal(name, number)

    async def take_down(self, name: str) -> None:
        """SIGKILL, and it stays away until `bring_back`."""
        child = self.children[name]
        self.ready_at.pop(name, None)
        child.signal(signal.SIGKILL)
        await child.stop()

    async def bring_back(self, name: str) -> None:
        """Returns when it is ready. Raises deploy's StartError."""
        await self.children[name].start()
        self.ready_at[name] = time.monotonic()

    def is_ending(self, name: str) -> bool:
        return name in self._to_end

    def signal(self, name: str, number: signal.Signals) -> None:
        """Raises ProcessLookupError when it has just ended."""
        os.kill(self.children[name].pid, number)

    async def replace(self, name: str, release: Release | None) -> None:
        """Drains the process and starts another release's in its place; None: that of the working tree.

        Returns when it is ready. Raises deploy's StartError.
        """
        command = self._commands[name]
        await self._replace(name, release.of(command) if release is not None else command)

    async def add_to_streams(self, name: str, urls: Sequence[str]) -> None:
        """Drains the process and starts it again with these stream Redises besides its own. As `replace`."""
        command = self._commands[name]
        env = dict(command.env or {})
        env["PARLEY_STREAM_REDIS_URLS"] = ",".join((env["PARLEY_STREAM_REDIS_URLS"], *urls))
        await self._replace(name, dataclasses.replace(command, env=env))

    async def _replace(self, name: str, command: Command) -> None:
        child = self.children[name]
        self.ready_at.pop(name, None)
        await child.stop()
        child.command = command
        await child.start()
        self.ready_at[name] = time.monotonic()


def default_size() -> Size:
    return Size(gateways=2, workers=3, histories=2, port=free_port())
