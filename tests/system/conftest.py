"""One running stack for all system tests that do not need their own."""

import json
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.system.stack import Client, Stack

# The only model of the stack that has a price.
PRICED = "scripted/tokens=4,delay=3,text=fixed"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # The MCP servers of the tests are on loopback too.
    directory = tmp_path_factory.mktemp("stack")
    (directory / "prices.json").write_text(json.dumps({"models": {f"default/{PRICED}": {"input": 1, "output": 2}}}))
    environment = {
        "PARLEY_TOOL_ALLOW": "127.0.0.1",
        "PARLEY_CHECKS_JUDGE_MODEL": "scripted/text=verdict",
        "PARLEY_PRICES_FILE": str(directory / "prices.json"),
        # Checks, publishing and repairs go on at the reconciler's next round.
        "PARLEY_RECONCILE_INTERVAL_S": "0.4",
    }
    stack = Stack.start(directory, "--gateways", "2", "--workers", "2", environment=environment)
    yield stack
    stack.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http


@pytest.fixture
def clients(stack: Stack, http: aiohttp.ClientSession) -> list[Client]:
    """One for each gateway's private port."""
    facts = stack.facts
    return [Client(http, url, facts["secretKey"]) for url in facts["gateways"]]


@pytest.fixture
def client(clients: list[Client]) -> Client:
    return clients[0]
