"""A cluster that a Prometheus watches, with the neighbours whose failures our alerts are about: a collector of traces,
a receiver of webhooks, callers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from deploy.local.processes import free_port
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.ids import new_id
from shared.tasks import end_tasks
from tests.system.chaos.cluster import WORKSPACE, Cluster, default_size
from tests.system.chaos.watch import Watch, watching
from tests.system.stack import Client

LEASE_S: Final = 2.0
# Few enough to fill all workers and a gateway, and more than the load of a chaos run needs.
TURNS_PER_WORKER: Final = 20
STREAMS_PER_GATEWAY: Final = 80
# With a price; and what callers meet in the conditions.
PRICED: Final = "scripted/tokens=4,delay=3,text=fixed"
MODELS: Final = {
    "priced": PRICED,
    "steady": "scripted/tokens=8,delay=10",
    "long": "scripted/tokens=100,delay=100",
    "late": "scripted/tokens=2,first=12000",
    "stuck": "scripted/tokens=2,first=90000",
    "broken": "scripted/tokens=4,fail=cut,after=2",
}
_PAUSE_S: Final = 0.2


class Collector:
    """Takes spans and reads none."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(content_type="application/x-protobuf")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`agents`: ids by the names in MODELS."""

    cluster: Cluster
    watch: Watch
    http: aiohttp.ClientSession
    collector: Collector
    agents: dict[str, str]

    def clients(self) -> list[Client]:
        """One for each gateway."""
        urls = [url.removesuffix("/api/v1") for url in self.cluster.gateways]
        return [Client(self.http, url, self.cluster.secret) for url in urls]

    @asynccontextmanager
    async def callers(self, agent: str, count: int, *, gateways: int = 2) -> AsyncIterator[None]:
        """So many callers at the first gateways, each with one turn after the other, whatever is answered."""
        clients = self.clients()[:gateways]
        tasks = [
            asyncio.create_task(_call_on(clients[number % gateways], self.agents[agent])) for number in range(count)
        ]
        try:
            yield
        finally:
            await end_tasks(tasks)


async def _call_on(client: Client, agent_id: str) -> None:
    body = {"model": agent_id, "messages": [{"role": "user", "content": "How are you?"}], "stream": True}
    while True:
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with client.request("POST", "/chat/completions", body) as response:
                await response.read()
        await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def scene(directory: Path, program: str) -> AsyncIterator[Scene]:
    """`program`: Prometheus'."""
    port = free_port()
    collector = Collector(port)
    await collector.start()
    cluster = Cluster(
        directory,
        lease_s=LEASE_S,
        size=default_size(),
        settings=dict(_settings(directory, port)),
        reads_sources=True,
    )
    try:
        async with cluster, watching(cluster, program, directory) as watch:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            async with aiohttp.ClientSession(connector=connector) as http:
                agents = await _published(cluster)
                yield Scene(cluster=cluster, watch=watch, http=http, collector=collector, agents=agents)
    finally:
        await collector.stop()


def _settings(directory: Path, collector_port: int) -> Iterator[tuple[str, str]]:
    prices = directory / "prices.json"
    prices.write_text(json.dumps({"models": {f"default/{PRICED}": {"input": 1, "output": 2}}}))
    yield "PARLEY_PRICES_FILE", str(prices)
    yield "PARLEY_OTLP_URL", f"http://127.0.0.1:{collector_port}"
    yield "PARLEY_MAX_TURNS", str(TURNS_PER_WORKER)
    yield "PARLEY_STREAMS_LIMIT", str(STREAMS_PER_GATEWAY)
    yield "PARLEY_MODEL_FIRST_TOKEN_TIMEOUT_S", "120"


async def _published(cluster: Cluster) -> dict[str, str]:
    agents = {}
    async with cluster.history() as history:
        for name, model in MODELS.items():
            agents[name] = new_id("agt")
            await history.put_agent(WORKSPACE, agents[name], AgentConfig(name=name, model=ModelChoice(name=model)))
            await history.publish_agent(WORKSPACE, agents[name], [])
    return agents
