"""The stack that is measured: `make up` in a directory of its own, with high limits and an agent per scripted model."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.processes import end, free_port, spawn
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.keys import NewKey
from shared.history_client import HistoryClient
from shared.ids import new_id
from tests.bench.processes import Meter
from tests.bench.targets import Address, Completions, Sessions
from tests.bench.wire import BadAnswer, Wire, http_request

ROOT: Final = Path(__file__).resolve().parents[2]
START_TIMEOUT_S: Final = 90.0
OPENING: Final = 24
# What protects a real installation would only be measured here.
_LIMITS: Final = {
    "PARLEY_REQUESTS_PER_MINUTE": "10000000",
    "PARLEY_STREAMS_PER_KEY": "20000",
    "PARLEY_STREAMS_LIMIT": "20000",
    "PARLEY_MAX_TURNS": "700",
    "PARLEY_LOG_LEVEL": "info",
}


def in_memory() -> Path:
    """In memory, because a disk's sync time would exceed all other figures. `--data` measures with a disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


class Rig:
    """A running stack."""

    def __init__(self, ready: Mapping[str, Any], history: HistoryClient) -> None:
        self.gateway = Address.of(ready["baseUrl"])
        self.model = Address.of(ready["modelUrl"])
        self.key: str = ready["secretKey"]
        self.workspace: str = ready["workspace"]
        self.redis_url: str = ready["redisUrl"]
        self.mongodb_uri: str = ready["mongodbUri"]
        self.gateway_pids: list[int] = ready["pids"]["gateway"]
        pids = ready["pids"]
        self.meter = Meter(
            {
                "gateway": pids["gateway"],
                "worker": pids["worker"],
                "history": pids["history"],
                "redis": [pids["redis"]],
                "mongodb": [pids["mongodb"]],
                "model": [pids["model"]],
            }
        )
        self._history = history
        self._history_urls: list[str] = ready["historyUrls"]
        self.metrics_urls: list[str] = [url for urls in ready.get("metrics", {}).values() for url in urls]
        self._agents: dict[str, str] = {}

    async def agent(self, model: str) -> str:
        """The published agent behind which this scripted model stands."""
        if model not in self._agents:
            agent_id = new_id("agt")
            config = AgentConfig(name=model[:200], model=ModelChoice(name=model))
            await self._history.put_agent(self.workspace, agent_id, config)
            await self._history.publish_agent(self.workspace, agent_id, ())
            self._agents[model] = agent_id
        return self._agents[model]

    async def create_key(self, key: NewKey) -> str:
        return (await self._history.create_key(key)).secret

    async def session(self, model: str) -> str:
        body = orjson.dumps({"agentId": await self.agent(model)})
        answer = await self.api("POST", "/chat/sessions", body)
        session_id: str = answer["data"]["id"]
        return session_id

    async def api(self, method: str, path: str, body: bytes = b"") -> Any:
        wire = await self.gateway.open()
        try:
            answer = await wire.ask(http_request(method, f"/api/v1{path}", self.gateway.host, self.key, body))
        finally:
            wire.close()
        if answer.status >= 300:
            raise BadAnswer(f"{method} {path}: HTTP {answer.status}: {answer.body()[:300]!r}")
        return orjson.loads(answer.body())

    async def asked_at(self) -> dict[str, float]:
        """When the model got its last questions, by their text: seconds of the clock that `perf_counter` reads too."""
        return {row["message"]: row["at"] for row in orjson.loads(await get_body(self.model, "/asked"))}

    async def waited_s(self) -> dict[str, tuple[float, int]]:
        """By route of history: the seconds that its calls waited for MongoDB, and how many calls there were."""
        totals: dict[str, tuple[float, int]] = {}
        for url in self._history_urls:
            for family in text_string_to_metric_families((await get_body(Address.of(url), "/metrics")).decode()):
                if family.name != "parley_history_mongodb_seconds":
                    continue
                for sample in family.samples:
                    seconds, calls = totals.get(route := sample.labels["route"], (0.0, 0))
                    if sample.name.endswith("_sum"):
                        totals[route] = seconds + sample.value, calls
                    elif sample.name.endswith("_count"):
                        totals[route] = seconds, calls + int(sample.value)
        return totals

    async def spans_sent(self) -> int:
        """The spans of traces that a collector has taken from all processes."""
        sent = 0.0
        for url in self.metrics_urls:
            text = (await get_body(Address.of(url.removesuffix("/metrics")), "/metrics")).decode()
            for family in text_string_to_metric_families(text):
                if family.name == "parley_spans":
                    sent += sum(sample.value for sample in family.samples if sample.labels.get("outcome") == "sent")
        return round(sent)

    # --- targets

    def direct(self, model: str) -> Completions:
        return Completions("direct", self.model, "/v1/chat/completions", "none", model)

    async def completions(self, model: str) -> Completions:
        return Completions("openai", self.gateway, "/api/v1/chat/completions", self.key, await self.agent(model))

    async def sessions(self, model: str, count: int) -> Sessions:
        await self.agent(model)
        slots = asyncio.Semaphore(OPENING)

        async def one() -> str:
            async with slots:
                return await self.session(model)

        return Sessions("session", self.gateway, self.key, await asyncio.gather(*(one() for _ in range(count))))


async def get_body(address: Address, path: str) -> bytes:
    wire = await address.open()
    try:
        return (await wire.ask(http_request("GET", path, address.host, "none"))).body()
    finally:
        wire.close()


@asynccontextmanager
async def running_stack(
    data: Path,
    *,
    workers: int = 2,
    gateways: int = 1,
    environment: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> AsyncIterator[Rig]:
    """Starts it with its data below `data`, and ends both. `root`: the checkout whose code it runs."""
    _raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="parley-bench-", dir=data) as name:
        directory = Path(name)
        ready_file = directory / "ready.json"
        command = [
            sys.executable,
            "-m",
            "deploy.local",
            "--data-dir",
            str(directory / "data"),
            "--ready-file",
            str(ready_file),
        ]
        command += ["--port", str(free_port()), "--workers", str(workers), "--gateways", str(gateways)]
        process = spawn(
            command,
            log=directory / "local.log",
            pid_file=directory / "local.pid",
            env={**os.environ, **_LIMITS, **(environment or {})},
            cwd=root,
        )
        try:
            ready = await _ready(process, ready_file, directory / "local.log")
            async with HistoryClient(ready["historyUrls"], ready["internalToken"], timeout_s=15.0) as history:
                yield Rig(ready, history)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            await asyncio.to_thread(end, process, 45.0)


async def _ready(process: "subprocess.Popen[bytes]", ready_file: Path, log: Path) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while not ready_file.exists():
        if process.poll() is not None or asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"the stack did not come up:\n{log.read_text()[-2000:]}")
        await asyncio.sleep(0.1)
    facts: dict[str, Any] = orjson.loads(ready_file.read_bytes())
    return facts


def _raise_file_limit() -> None:
    """Thousands of streams need as many files, here and in the children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def open_wires(address: Address, count: int) -> Sequence[Wire]:
    wires: list[Wire] = []
    while len(wires) < count:
        wires += await asyncio.gather(*(address.open() for _ in range(min(100, count - len(wires)))))
    return wires
