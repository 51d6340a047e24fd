"""A master, two replicas and three Sentinels on loopback ports, with a password, as operators run them."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from deploy.local.processes import end, free_port
from tests.programs import required_program

MASTER: Final = "mymaster"
PASSWORD: Final = "p@ss,word"
_QUOTED: Final = "p%40ss%2Cword"
_SENTINEL_LINES: Final = """
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {master} 127.0.0.1 {master_port} 2
sentinel auth-pass {master} {password}
sentinel down-after-milliseconds {master} 1500
sentinel failover-timeout {master} 6000
sentinel parallel-syncs {master} 2
"""


class WatchedRedis:
    """Call `stop` at the end. Each server is ended by its own process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = required_program("redis-server", "redis-server")
        self.ports = [free_port() for _ in range(3)]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for port in self.ports:
                self.start_server(port, self.ports[0])
            until(lambda: self._replicas() == 2, "two replicas")
            for port in self.sentinel_ports:
                self._start_sentinel(port)
            until(lambda: all(self._sees_all(port) for port in self.sentinel_ports), "Sentinels that see each other")
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://:{_QUOTED}@{hosts}/{MASTER}/0"

    def server(self, port: int) -> Any:
        return Redis(port=port, password=PASSWORD, socket_timeout=5.0)

    def sentinel(self, port: int) -> Any:
        return Redis(port=port, socket_timeout=5.0, decode_responses=True)

    def start_server(self, port: int, master: int) -> None:
        directory = self._directory / str(port)
        directory.mkdir(exist_ok=True)
        arguments = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), "--save", ""]
        arguments += ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
        if port != master:
            arguments += ["--replicaof", f"127.0.0.1 {master}"]
        self._spawn(port, arguments)

    def master_port(self) -> int:
        """As the first Sentinel that answers says."""
        for port in self.sentinel_ports:
            try:
                with self.sentinel(port) as client:
                    return int(client.sentinel_get_master_addr_by_name(MASTER)[1])
            except RedisError:
                continue
        raise AssertionError("no Sentinel answers")

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait()

    def fail_over(self, within_s: float = 60.0) -> tuple[int, int]:
        """Kills the master and waits until the Sentinels agree on another: the ports of both."""
        before = self.master_port()
        self.kill(before)
        until(lambda: self.master_port() != before, "another master", within_s)
        return before, self.master_port()

    def stop(self) -> None:
        # The Sentinels first: they would begin a fail-over.
        for port in reversed(self.processes):
            end(self.processes[port], 5.0)

    def _start_sentinel(self, port: int) -> None:
        directory = self._directory / str(port)
        directory.mkdir()
        lines = _SENTINEL_LINES.format(
            port=port, directory=directory, master=MASTER, master_port=self.ports[0], password=f'"{PASSWORD}"'
        )
        (directory / "sentinel.conf").write_text(lines)
        self._spawn(port, [str(directory / "sentinel.conf"), "--sentinel"])

    def _spawn(self, port: int, arguments: list[str]) -> None:
        with (self._directory / f"{port}.log").open("ab") as log:
            self.processes[port] = subprocess.Popen([self._program, *arguments], stdout=log, stderr=log)

    def _replicas(self) -> int:
        with self.server(self.ports[0]) as client:
            replication = client.info("replication")
        return sum(replication.get(f"slave{number}", {}).get("state") == "online" for number in range(2))

    def _sees_all(self, port: int) -> bool:
        with self.sentinel(port) as client:
            state = client.sentinel_master(MASTER)
        return bool(state["num-slaves"] == 2 and state["num-other-sentinels"] == 2 and state["flags"] == "master")


def until(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline, f"no {what} within {within_s:.0f} s"
        time.sleep(0.1)
