"""Stores that the whole test run shares: started once, emptied for each test, ended by pid."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
from hypothesis import settings
from redis.asyncio import Redis

from deploy.local.stores import Server, start_mongodb, start_redis

# A deadline in a test is what a quiet host needs at most. Hosts may be slower, and may run other things beside: a test
# fails only when this many times the deadline has passed. What waits for ever still fails; figures are for `make
# bench`.
PATIENCE: Final = 5.0

# Hypothesis' deadline of 200 ms per example would let a busy host decide.
settings.register_profile("parley", deadline=None)
settings.load_profile("parley")

Condition = Callable[[], Awaitable[object] | object]


async def eventually(
    condition: Condition, *, within_s: float = 10.0, what: str = "the condition", every_s: float = 0.02
) -> None:
    """Waits for a condition, for `within_s` on a quiet host (see PATIENCE). It must not be what keeps the host busy."""
    deadline = time.monotonic() + within_s * PATIENCE
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {within_s * PATIENCE} s")
        await asyncio.sleep(every_s)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """System tests first: their files take longest, and the last file to end decides when all have ended."""
    items.sort(key=lambda item: "system" not in item.path.parts)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = os.environ.get("PARLEY_TEST_REDIS_PROGRAM", "")
    server = start_redis(tmp_path_factory.mktemp("redis"), debug_commands=True, program=program)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_mongodb(tmp_path_factory.mktemp("mongodb"), test_commands=True)
    yield server
    server.stop()


async def emptied_redis(server: Server) -> str:
    """Its URL, or that of PARLEY_TEST_REDIS_URL where it is set."""
    url = os.environ.get("PARLEY_TEST_REDIS_URL", server.url)
    async with Redis.from_url(url) as client:
        await client.flushdb()
    return url


@pytest.fixture
async def redis_url(redis_server: Server) -> str:
    """An empty Redis: the one of PARLEY_TEST_REDIS_URL where that is set, else our own (PARLEY_TEST_REDIS_PROGRAM)."""
    return await emptied_redis(redis_server)


@pytest.fixture(scope="session")
def mongodb_uri(mongodb_server: Server) -> str:
    return os.environ.get("PARLEY_TEST_MONGODB_URI", mongodb_server.url)
