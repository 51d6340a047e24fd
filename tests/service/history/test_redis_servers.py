"""What history says of a Redis that Parley cannot work with, or that is a risk."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from deploy.local.processes import free_port
from services.history import redis_servers
from services.history.redis_servers import RedisServers, RefusedRedis
from shared.log import get_logger
from tests.conftest import eventually
from tests.programs import required_program


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A real Redis with the arguments of the parameter."""
    port = free_port()
    command = [required_program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    arguments = [*command, "--save", "", "--dir", str(tmp_path), *request.param]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as server:
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


async def looked(url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[str, str]], str | None]:
    """Log lines of three looks, and why history is not ready."""
    monkeypatch.setattr(redis_servers, "LOOK_EVERY_S", 0.0)
    servers, refused, looks = RedisServers((url, url)), None, 0

    async def three() -> bool:
        nonlocal refused, looks
        try:
            await servers.suitable()
        except RefusedRedis as error:
            refused = str(error)
        except (RedisError, OSError):
            return False
        looks += 1
        return looks == 3

    with capture_logs() as lines:
        monkeypatch.setattr(redis_servers, "log", get_logger())
        await eventually(three, what="three looks")
    return [(line["event"], line["log_level"]) for line in lines], refused


@pytest.mark.parametrize("url", [("--cluster-enabled", "yes")], indirect=True)
async def test_a_redis_cluster_is_refused_and_said_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, refused = await looked(url, monkeypatch)
    assert lines == [("redis_cluster", "error")]
    assert refused is not None
    assert "Redis Cluster" in refused


@pytest.mark.parametrize("url", [("--maxmemory-policy", "allkeys-lru")], indirect=True)
async def test_a_redis_that_evicts_is_survived_and_said_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(url, monkeypatch) == ([("redis_evicts", "warning")], None)


@pytest.mark.parametrize("url", [("--replicaof", "127.0.0.1 9")], indirect=True)
async def test_a_replica_is_survived_and_said_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(url, monkeypatch) == ([("redis_replica", "warning")], None)


@pytest.mark.parametrize("url", [("--maxmemory-policy", "noeviction")], indirect=True)
async def test_a_plain_redis_is_taken_without_a_word(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(url, monkeypatch) == ([], None)
