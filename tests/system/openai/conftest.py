"""Fixtures of the OpenAI tests: clients of the running stack, a relay that counts and drops, spare gateways."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from deploy.local.processes import free_port
from shared.contracts.keys import NewKey, Scope
from tests.conftest import eventually
from tests.programs import required_program
from tests.system.openai.node_client import Node
from tests.system.openai.relay import Relay
from tests.system.stack import ROOT, Stack

Connect = Callable[..., AsyncOpenAI]
Received = Callable[[str], Awaitable[list[dict[str, Any]]]]
MintKey = Callable[..., Awaitable[str]]
SpareGateway = Callable[..., Awaitable[str]]


@pytest.fixture
async def connect(stack: Stack) -> AsyncIterator[Connect]:
    """Makes clients of the first gateway that do not retry, unless told otherwise."""
    async with AsyncExitStack() as clients:
        pending = list[AsyncOpenAI]()

        def make(**options: Any) -> AsyncOpenAI:
            facts = stack.facts
            given = {
                "base_url": f"{facts['gateways'][0]}/api/v1",
                "api_key": facts["secretKey"],
                "max_retries": 0,
                "timeout": 30.0,
            }
            client = AsyncOpenAI(**(given | options))
            pending.append(client)
            return client

        yield make
        for client in pending:
            await clients.enter_async_context(client)


@pytest.fixture
def sdk(connect: Connect) -> AsyncOpenAI:
    return connect()


@pytest.fixture
def received(stack: Stack, http: aiohttp.ClientSession) -> Received:
    """The bodies that the model got, of the requests whose last user message is this one."""

    async def ask(question: str) -> list[dict[str, Any]]:
        async with http.get(stack.facts["modelUrl"] + "/requests") as response:
            bodies = await response.json()
        return [body for body in bodies if _last_question(body) == question]

    return ask


def _last_question(body: dict[str, Any]) -> Any:
    return next((message["content"] for message in reversed(body["messages"]) if message["role"] == "user"), None)


@pytest.fixture
def mint_key(stack: Stack) -> MintKey:
    async def mint(*scopes: Scope, **more: Any) -> str:
        async with stack.history() as history:
            key = NewKey(
                workspace=stack.facts["workspace"],
                scopes=frozenset(scopes or (Scope.CHAT_READ, Scope.CHAT_WRITE)),
                **more,
            )
            return (await history.create_key(key)).secret

    return mint


@pytest.fixture
async def relay(stack: Stack) -> AsyncIterator[Relay]:
    async with Relay(stack.facts["gateways"][0]) as running:
        yield running


@pytest.fixture
async def spare_gateway(stack: Stack, http: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[SpareGateway]:
    """Starts a further gateway of the stack with other settings; its address."""
    async with AsyncExitStack() as running:

        async def start(**settings: str) -> str:
            return await running.enter_async_context(_gateway(stack, http, tmp_path, settings))

        yield start


@asynccontextmanager
async def _gateway(
    stack: Stack, http: aiohttp.ClientSession, directory: Path, settings: dict[str, str]
) -> AsyncIterator[str]:
    facts, port = stack.facts, free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    environment = {
        "PARLEY_PORT": str(free_port()),
        "PARLEY_PRIVATE_PORT": str(port),
        "PARLEY_HISTORY_URL": ",".join(facts["historyUrls"]),
        "PARLEY_QUEUE_REDIS_URL": facts["redisUrl"],
        "PARLEY_INTERNAL_TOKEN": facts["internalToken"],
        **settings,
    }
    with (directory / f"gateway-{port}.log").open("wb") as output:
        command = [sys.executable, "-m", "services.gateway"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=own | environment, stdout=output, stderr=output
        )
    base = f"http://127.0.0.1:{port}"

    async def alive() -> bool:
        try:
            async with http.get(base + "/healthz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await eventually(alive, within_s=30, what="the spare gateway")
        yield base
    finally:
        process.terminate()
        async with asyncio.timeout(15):
            await process.wait()


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned packages, installed once per content of their lock file; the scripts beside them."""
    required_program("node", "nodejs")
    required_program("npm", "npm")
    return Node.install(tmp_path_factory)


@pytest.fixture
def node(stack: Stack, node_modules: Path) -> Node:
    facts = stack.facts
    return Node(node_modules, {"baseURL": f"{facts['gateways'][0]}/api/v1", "apiKey": facts["secretKey"]})
