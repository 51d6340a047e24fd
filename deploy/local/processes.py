"""Child processes that cannot outlive us: started with a death signal and a pid file, ended for certain. Free ports."""

import ctypes
import os
import queue
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

_PR_SET_PDEATHSIG: Final = 1
_LINUX: Final = sys.platform == "linux"
# Loaded before any fork: the child of a threaded process must not take the locks of the loader.
_libc = ctypes.CDLL(None, use_errno=True)
# Below Linux's range of ephemeral ports (32768…): a server that is killed and restarted must find its port free, and a
# client that knocks at a dead ephemeral port can even connect to itself.
_PORTS: Final = range(20_000, 32_000)
_handed_out: set[int] = set()

_Process: TypeAlias = "subprocess.Popen[bytes]"
_Order: TypeAlias = Callable[[int], _Process]  # given the launcher's pid


def free_port() -> int:
    """A loopback port that nobody listens on, never the same twice in one process."""
    for _ in range(1000):
        port = random.choice(_PORTS)
        if port not in _handed_out and port_is_free(port):
            _handed_out.add(port)
            return port
    raise OSError("no free port between 20000 and 32000")


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do, so that connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def spawn(
    command: Sequence[str], *, log: Path, pid_file: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts `command` with its output appended to `log`; it gets SIGKILL when this process dies, however that happens.

    What an earlier, killed launcher left behind under the same pid file is ended first. Raises OSError.
    """
    end_leftover(pid_file)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = _spawner.start(
            lambda parent: subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                # Its own process group: a Ctrl-C at the terminal reaches the launcher alone, which ends the others in
                # order.
                process_group=0,
                preexec_fn=(lambda: _die_with(parent)) if _LINUX else None,  # noqa: PLW1509  (see _libc)
            )
        )
    pid_file.write_text(f"{process.pid} {_started(process.pid)}\n")
    return process


def end(process: subprocess.Popen[bytes], grace_s: float = 10.0) -> None:
    """SIGTERM, and after `grace_s` SIGKILL. Returns when it is gone; blocking."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def end_leftover(pid_file: Path) -> None:
    """Kills the process that the pid file names, if that very process still runs."""
    with suppress(OSError, ValueError):
        pid_text, started = pid_file.read_text().split(maxsplit=1)
        pid = int(pid_text)
        if started.strip() and started.strip() == _started(pid):
            descriptor = os.pidfd_open(pid) if _LINUX else -1
            os.kill(pid, signal.SIGKILL)
            if descriptor >= 0:
                _wait_gone(descriptor)
    pid_file.unlink(missing_ok=True)


def _wait_gone(descriptor: int) -> None:
    """A pidfd turns readable when its process has ended."""
    try:
        select.select([descriptor], [], [], 5.0)
    finally:
        os.close(descriptor)


def _started(pid: int) -> str:
    """When the kernel started this pid: distinguishes a reused pid from the noted one. Empty if unknown."""
    try:
        # The command in field 2 may hold blanks; everything after its closing parenthesis is regular.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _die_with(parent: int) -> None:
    """In the child, before exec: die when the launcher's spawning thread does, also if that has happened already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class _Spawner:
    """One thread that starts every child and lives as long as the process.

    The death signal is sent when the *thread* that forked ends; a worker thread of a pool would take its children
    along.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[
            tuple[Callable[[int], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, order: _Order) -> _Process:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="spawner", daemon=True)
                self._thread.start()
        result: Future[_Process] = Future()
        self._orders.put((order, result))
        return result.result()

    def _serve(self) -> None:
        while True:
            order, result = self._orders.get()
            try:
                result.set_result(order(os.getpid()))
            except Exception as error:  # Belongs to the caller, who waits for it.
                result.set_exception(error)


_spawner = _Spawner()
