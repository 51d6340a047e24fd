"""The stage of the worker's tests: servers on loopback, real workers, and a look at the run log and the outbox."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import orjson
from aiohttp import web

from deploy.local.processes import free_port
from services.agent_worker.guardrails.hooks import Hooks
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.model.client import Models
from services.agent_worker.settings import Timeouts, Upstream
from services.agent_worker.tools.kit import ToolKit
from services.agent_worker.turns.agent_versions import AgentCache
from services.agent_worker.turns.dependencies import Dependencies
from services.agent_worker.turns.run import TurnRunner
from shared.contracts.agents import AgentConfig
from shared.contracts.frames import BEGINNING, data_of
from shared.contracts.jobs import RunTurn
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import ClaimedTurn, FinishedTurn
from shared.ids import new_id
from shared.outbox import OUTBOX
from shared.run_log.reader import RunLogs
from shared.run_log.writer import LogWriter
from shared.secrets import SecretBox
from shared.turn_queue.keys import QUEUE
from shared.turn_queue.queue import TurnQueue
from shared.turn_queue.worker import LeasedWorker
from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient
from tests.conftest import eventually
from tests.service.agent_worker.fake_history import FakeHistory, FakeTurn

SLOW = "scripted/tokens=200,delay=50,text=echo"
SECRETS = SecretBox([base64.b64encode(b"k" * 32).decode()])


@dataclass
class Ended:
    """What became of a turn: its result in the outbox and its frames in the log."""

    turn: FinishedTurn
    frames: list[tuple[str, dict[str, Any]]]

    @property
    def events(self) -> list[str]:
        """Runs of deltas count as one: how many there are is a matter of timing."""
        names = [event for event, _ in self.frames]
        return [name for at, name in enumerate(names) if name != "delta" or names[at - 1] != "delta"]

    @property
    def text(self) -> str:
        """What a client shows: everything before the last restart is dropped."""
        text = ""
        for event, data in self.frames:
            text = "" if event == "restarted" else text + data["text"] if event == "delta" else text
        return text

    def data(self, event: str) -> list[dict[str, Any]]:
        return [data for name, data in self.frames if name == event]


class Stage:
    """One Redis, one fake history, any number of workers."""

    def __init__(self, redis_url: str, model_url: str, history: FakeHistory, queue: TurnQueue, logs: RunLogs) -> None:
        self.redis_url = redis_url
        self.model_url = model_url
        self.history = history
        self.queue = queue
        self.logs = logs

    def agent(self, model: str = "scripted/tokens=8,text=echo", **given: Any) -> AgentConfig:
        return AgentConfig.model_validate(
            {"name": "Mia", "instructions": "Be kind.", "model": {"name": model}, **given}
        )

    def tool(self, name: str = "count", query: str = "", **given: Any) -> dict[str, Any]:
        return {"name": name, "url": f"{self.model_url}/tools/{name}{query}", **given}

    async def post(
        self, agent: AgentConfig, text: str = "Hello?", *, with_snapshot: bool = False, **given: Any
    ) -> RunTurn:
        """A turn is admitted and enqueued; its claim snapshot shows it as it was admitted."""
        message = TurnMessage(id=new_id("msg"), role="user", content=text, created_at=datetime.now(UTC))
        job = RunTurn("acme", new_id("trn"), "agt_1", given.get("number", 1))
        turn = self.history.turns[job.turn_id] = FakeTurn(agent, input=(message,), **given)
        first = ClaimedTurn(
            run=True,
            attempt=1,
            admitted_at=message.created_at,
            agent_id="agt_1",
            session_id="ses_1",
            input=turn.input,
            context=turn.context,
        )
        await self.queue.enqueue(job, orjson.dumps(first.wire()).decode() if with_snapshot else None)
        return job

    @asynccontextmanager
    async def worker(
        self,
        *,
        lease_s: float = 5.0,
        drain_s: float = 5.0,
        policy: OutgoingPolicy | None = None,
    ) -> AsyncIterator[asyncio.Event]:
        """The real leased worker and runner, with the upstream `default` at the demo model.

        Set the event to drain it.
        """
        allowed = OutgoingPolicy(allow=AllowList.parse([self.model_url.removeprefix("http://")]))
        timeouts = Timeouts(connect_s=1.0, first_token_s=2.0, token_s=1.0)
        queue, stop = TurnQueue.connect(self.redis_url), asyncio.Event()
        async with (
            Models({"default": Upstream(base_url=f"{self.model_url}/v1")}, timeouts) as models,
            ToolKit(client := GuardedClient(policy or allowed), SECRETS) as tools,
            LogWriter([self.redis_url], ttl_s=600) as logs,
        ):
            retriever = Fts5Retriever(lambda version: self.history.passages(*version[:3]))
            dependencies = Dependencies(
                history=self.history,
                models=models,
                tools=tools,
                hooks=Hooks(client, SECRETS),
                retriever=retriever,
                logs=logs,
                agents=AgentCache(),
            )
            worker = LeasedWorker(
                queue, TurnRunner(dependencies), max_turns=50, lease_s=lease_s, drain_s=drain_s, job_timeout_s=60
            )
            serving = asyncio.create_task(worker.serve(stop))
            try:
                yield stop
            finally:
                stop.set()
                await serving
                await retriever.close()
                await queue.aclose()

    async def lose(self, job: RunTurn) -> None:
        """As after a kill -9 of its worker: the lease is nobody's here, and it has lapsed.

        Another claim will run the turn.
        """
        await cast("Awaitable[int]", self.queue.hset(f"{QUEUE}:leases", job.turn_id, "dead"))
        await self.queue.zadd(f"{QUEUE}:running", {job.turn_id: 0})

    async def outbox(self) -> dict[str, FinishedTurn]:
        rows = await self.queue.xrange(OUTBOX)
        return {row[b"turn"].decode(): FinishedTurn.model_validate(orjson.loads(row[b"body"])) for _, row in rows}

    async def frames(self, job: RunTurn) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.logs.read(job.workspace, job.turn_id, BEGINNING, 10_000)
        return [(frame.event, data_of(frame.data)) for frame in rows]

    async def ended(self, job: RunTurn, *, within_s: float = 15.0) -> Ended:
        async def is_finished() -> bool:
            return job.turn_id in await self.outbox()

        await eventually(is_finished, within_s=within_s, what="the turn's end")
        finished = (await self.outbox())[job.turn_id]
        rows = await self.logs.read(job.workspace, job.turn_id, BEGINNING, 10_000)
        last = (rows[-1].id if rows else None) or BEGINNING
        if last.attempt == finished.attempt:
            assert finished.last_seq == last.seq
        return Ended(finished, [(frame.event, data_of(frame.data)) for frame in rows])

    async def shows(self, job: RunTurn, event: str) -> None:
        """Waits until the log holds such a frame."""

        async def has_it() -> bool:
            return any(name == event for name, _ in await self.frames(job))

        await eventually(has_it, what=f"a {event} frame")


@asynccontextmanager
async def serving(*routes: web.RouteDef, app: web.Application | None = None) -> AsyncIterator[str]:
    """A server on a free port of 127.0.0.1; the base URL. A client that goes away cancels its handler."""
    if app is None:
        app = web.Application()
        app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    port = free_port()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def counted(stage: Stage) -> list[dict[str, Any]]:
    """What the counting tool was called with."""
    async with aiohttp.ClientSession() as session, session.get(f"{stage.model_url}/tools/counter") as response:
        calls: list[dict[str, Any]] = await response.json()
        return calls


async def model_stats(stage: Stage) -> dict[str, int]:
    async with aiohttp.ClientSession() as session, session.get(f"{stage.model_url}/stats") as response:
        stats: dict[str, int] = await response.json()
        return stats


async def is_started(stage: Stage) -> bool:
    return all(turn.attempt for turn in stage.history.turns.values())
