"""The embedded stores: ready when they say so, the same after a kill, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pymongo import MongoClient
from redis import Redis
from redis.exceptions import ResponseError

from deploy.local.processes import end_leftover, free_port, port_is_free, spawn
from deploy.local.stores import Server, StoreError, mongodb_store, redis_store, start_mongodb, start_redis

ROOT = Path(__file__).parents[3]
SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.kill()


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_redis_keeps_its_data_over_a_kill_on_the_same_port(tmp_path: Path, servers: list[Server]) -> None:
    server = start_redis(tmp_path)
    servers.append(server)
    with Redis.from_url(server.url) as client:
        client.set("key", "value")
    again = server.restart()
    servers.append(again)
    with Redis.from_url(again.url) as client:
        assert (again.url, client.get("key")) == (server.url, b"value")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_mongodb_keeps_acknowledged_writes_over_a_kill_on_the_same_port(tmp_path: Path, servers: list[Server]) -> None:
    server = start_mongodb(tmp_path)
    servers.append(server)
    client: MongoClient[dict[str, int]] = MongoClient(server.url)
    with client:
        client["db"]["things"].insert_many([{"_id": number} for number in range(50)])
        again = server.restart()
        servers.append(again)
        assert again.url == server.url
        assert client["db"]["things"].count_documents({}) == 50


def test_a_stopped_store_frees_its_port(tmp_path: Path, servers: list[Server]) -> None:
    server = start_redis(tmp_path)
    servers.append(server)
    assert not port_is_free(server.port)
    server.stop()
    assert port_is_free(server.port)


@pytest.mark.parametrize("debug_commands", [True, False])
def test_debug_commands_are_closed_unless_asked_for(
    tmp_path: Path, servers: list[Server], debug_commands: bool
) -> None:
    server = start_redis(tmp_path, debug_commands=debug_commands)
    servers.append(server)
    with Redis.from_url(server.url) as client:
        if debug_commands:
            assert client.execute_command("DEBUG", "SLEEP", "0") == b"OK"
        else:
            with pytest.raises(ResponseError, match="DEBUG command not allowed"):
                client.execute_command("DEBUG", "SLEEP", "0")


def test_a_stranger_on_the_port_is_not_taken_for_the_store(tmp_path: Path, servers: list[Server]) -> None:
    server = start_redis(tmp_path / "first")
    servers.append(server)
    with pytest.raises(StoreError, match="it is taken"):
        start_redis(tmp_path / "second", server.port)


def test_a_store_that_ends_at_once_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(StoreError, match=r"mongodb ended with \d+; see .*mongodb\.log"):
        start_mongodb(tmp_path)


def test_stores_die_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, signal; from pathlib import Path; from deploy.local.stores import start_mongodb, start_redis;"
        "where = Path(sys.argv[1]); print(start_redis(where / 'r').pid, start_mongodb(where / 'm').pid, flush=True);"
        "signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(gone(pid) for pid in pids)
        launcher.send_signal(signal.SIGKILL)
    wait_for(lambda: all(gone(pid) for pid in pids))


def test_a_leftover_is_ended_before_its_successor_starts(tmp_path: Path) -> None:
    pid_file, log = tmp_path / "it.pid", tmp_path / "it.log"
    first = spawn(SLEEPER, log=log, pid_file=pid_file)
    second = spawn(SLEEPER, log=log, pid_file=pid_file)
    assert first.wait(30) == -signal.SIGKILL
    assert second.poll() is None
    end_leftover(pid_file)
    assert second.wait(30) == -signal.SIGKILL
    assert not pid_file.exists()


def test_a_reused_pid_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    pid_file = tmp_path / "it.pid"
    pid_file.write_text(f"{os.getpid()} 1\n")
    end_leftover(pid_file)  # Killing this very process would end the test run.
    assert not pid_file.exists()


def test_free_ports_differ_and_lie_below_the_ephemeral_ones() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert max(ports) < 32_000


def test_stores_are_told_apart_by_name_and_address(tmp_path: Path) -> None:
    redis, mongodb = redis_store(tmp_path / "r"), mongodb_store(tmp_path / "m")
    assert redis.url.startswith("redis://127.0.0.1:")
    assert mongodb.url.endswith("/?w=majority&journal=true&retryWrites=false")
    assert (redis.name, mongodb.name) == ("redis", "mongodb")
