"""The Redis of a chaos run: one server of any program, or a primary, two replicas and three Sentinels.

Behind Sentinel every server announces the port of a link of its own, so services, replicas and Sentinels reach it
through that link, and what happens to the link happens to all of them.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.local.processes import free_port
from deploy.local.stores import redis_answers, redis_store
from deploy.local.supervisor import Command, StartError
from tests.programs import program_path

EMBEDDED: Final = "embedded"
SENTINEL: Final = "sentinel"
MASTER: Final = "chaos"
SERVERS: Final = 3
SENTINELS: Final = 3
FOLLOWED_S: Final = 60.0

_SERVER_LINES: Final = """
bind 127.0.0.1
port {port}
dir {directory}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
enable-debug-command local
repl-diskless-sync-delay 0
repl-timeout 10
replica-announce-ip 127.0.0.1
replica-announce-port {link}
"""
_SENTINEL_LINES: Final = """
bind 127.0.0.1
port {port}
dir {directory}
sentinel monitor {master} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {master} 1500
sentinel failover-timeout {master} 6000
sentinel parallel-syncs {master} 2
"""


class RedisChoice(NamedTuple):
    """What `--redis` names. `program`: a path; "" for the embedded Valkey."""

    program: str
    watched: bool

    @classmethod
    def parse(cls, text: str) -> "RedisChoice":
        """`embedded`, a program, `sentinel` (the embedded server behind Sentinel) or `sentinel:PROGRAM`.

        Raises StartError if there is no such program.
        """
        watched = text.partition(":")[0] == SENTINEL
        name = (text.partition(":")[2] or EMBEDDED) if watched else text
        if name == EMBEDDED:
            return cls("", watched)
        program = program_path(name)
        if program is None:
            raise StartError(f"There is no program {name}.")
        return cls(program, watched)


class RedisServers:
    """`link_ports`: where each server behind Sentinel is reached. Set them before the servers start."""

    def __init__(self, choice: RedisChoice, directory: Path) -> None:
        self.watched = choice.watched
        self._directory = directory
        store = redis_store(directory, debug_commands=True, program=choice.program)
        self._store = store
        self.ports = [free_port() for _ in range(SERVERS)] if choice.watched else [store.port]
        self.link_ports: list[int] = []
        self._sentinel_ports = [free_port() for _ in range(SENTINELS)] if choice.watched else []

    @property
    def names(self) -> list[str]:
        return [f"redis-{number}" for number in range(1, SERVERS + 1)] if self.watched else ["redis"]

    @property
    def url(self) -> str:
        """For services. A single server's is without a link."""
        if not self.watched:
            return self._store.url
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._sentinel_ports)}/{MASTER}/0"

    def servers(self, logs: Path) -> list[Command]:
        if not self.watched:
            return [self._command("redis", self._store.command, self._store.port, logs)]
        return [self._server(number, name, logs) for number, name in enumerate(self.names)]

    def sentinels(self, logs: Path) -> list[Command]:
        """To be started once `followed` has returned."""
        return [self._sentinel(number, port, logs) for number, port in enumerate(self._sentinel_ports, 1)]

    def _server(self, number: int, name: str, logs: Path) -> Command:
        directory = self._directory / name
        directory.mkdir(parents=True, exist_ok=True)
        lines = _SERVER_LINES.format(port=self.ports[number], directory=directory, link=self.link_ports[number])
        if number:
            lines += f"replicaof 127.0.0.1 {self.link_ports[0]}\n"
        # Sentinels have the server rewrite this file, so that it comes back as what it was made.
        (directory / "redis.conf").write_text(lines)
        return self._command(name, (self._store.command[0], str(directory / "redis.conf")), self.ports[number], logs)

    def _sentinel(self, number: int, port: int, logs: Path) -> Command:
        name = f"sentinel-{number}"
        directory = self._directory / name
        directory.mkdir(parents=True, exist_ok=True)
        lines = _SENTINEL_LINES.format(port=port, directory=directory, master=MASTER, primary=self.link_ports[0])
        (directory / "sentinel.conf").write_text(lines)
        arguments = (self._store.command[0], str(directory / "sentinel.conf"), "--sentinel")
        return self._command(name, arguments, port, logs)

    def _command(self, name: str, arguments: Sequence[str], port: int, logs: Path) -> Command:
        self._directory.mkdir(parents=True, exist_ok=True)
        return Command(
            name=name,
            arguments=arguments,
            log=logs / f"{name}.log",
            pid_file=self._directory / f"{name}.pid",
            probe=lambda: asyncio.to_thread(redis_answers, port),
            cwd=self._directory,
        )

    async def followed(self) -> None:
        """Returns when every replica follows the primary. Raises TimeoutError."""
        async with asyncio.timeout(FOLLOWED_S), Redis(port=self.ports[0]) as primary:
            while True:
                state = await primary.info("replication")
                replicas = [state.get(f"slave{number}", {}) for number in range(SERVERS - 1)]
                if all(replica.get("state") == "online" for replica in replicas):
                    return
                await asyncio.sleep(0.1)

    async def primary(self) -> int | None:
        """The number of the server that a majority of the Sentinels name; of a single server, 0. None: no majority."""
        if not self.watched:
            return 0
        answers = await asyncio.gather(*(self._named_by(port) for port in self._sentinel_ports))
        for port in {answer for answer in answers if answer in self.link_ports}:
            if answers.count(port) > SENTINELS // 2:
                return self.link_ports.index(port)
        return None

    async def _named_by(self, port: int) -> int | None:
        client: Any = Redis(port=port)  # redis-py gives no types to the commands of Sentinels.
        try:
            async with asyncio.timeout(2.0), client as sentinel:
                answer = await sentinel.sentinel_get_master_addr_by_name(MASTER)
        except (RedisError, OSError):
            return None
        return int(answer[1]) if answer else None

    async def primary_url(self) -> str:
        """Of the server that takes writes now, not through a link. Raises ConnectionError while there is none."""
        number = await self.primary()
        if number is None:
            raise ConnectionError("no majority of the Sentinels names a primary")
        return f"redis://127.0.0.1:{self.ports[number]}/0"

    async def description(self) -> str:
        """The program and version that the server tells, and how many there are."""
        async with Redis.from_url(await self.primary_url()) as server:
            info = await server.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = f"{name} {info.get('valkey_version') or info['redis_version']}"
        if not self.watched:
            return version
        return f"{version} behind Sentinel: {SERVERS} servers, {SENTINELS} Sentinels of the same program"
