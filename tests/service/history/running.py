"""A running history, seen from outside: its client, its Redis, and a worker's hands without the worker."""

import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

from pymongo import AsyncMongoClient

from deploy.local.processes import free_port
from services.history.app import Dependencies, create_app, open_dependencies
from services.history.mongo.driver import DriverName
from services.history.settings import HistorySettings
from shared.contracts.agents import AgentConfig, ModelChoice, Passage
from shared.contracts.frames import BEGINNING, FrameId, data_of, encode
from shared.contracts.jobs import RunTurn
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import (
    AdmittedTurn,
    AdmitTurn,
    ClaimedTurn,
    ClaimTurn,
    CompletionRequest,
    FinishedTurn,
    StartAttempt,
    StartedAttempt,
    Usage,
)
from shared.history_client import HistoryClient
from shared.ids import new_id
from shared.run_log.keys import VERSION, log_key
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.queue import TurnQueue
from shared.web.process import app_runner, listening

WORKSPACE = "acme"
TOKEN = "internal-token-of-the-tests"  # Not a secret: history runs for the length of a test.


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A turn held as a worker would hold it."""

    job: LeasedJob
    claimed: ClaimedTurn
    started: StartedAttempt


@dataclass(frozen=True, kw_only=True)
class History:
    dependencies: Dependencies
    client: HistoryClient
    queue: TurnQueue
    base_url: str
    documents: Any

    async def session(self, agent_id: str = "agt_demo") -> str:
        session = await self.client.create_session(WORKSPACE, new_id("ses"), agent_id, {}, draft=False)
        return session.id

    async def publish(self, agent_id: str = "agt_demo", instructions: str = "Be brief.", **members: Any) -> int:
        await self.client.put_agent(WORKSPACE, agent_id, config(instructions, **members))
        return (await self.client.publish_agent(WORKSPACE, agent_id, [passage(1)])).number

    async def admit(self, session_id: str, text: str = "Hello?", **members: Any) -> AdmittedTurn:
        return await self.client.admit(WORKSPACE, order(session_id, text, **members))

    async def enqueue(self, turn_id: str) -> None:
        await self.queue.enqueue(RunTurn(WORKSPACE, turn_id, "agt_demo", 1))

    async def lease(self, turn_id: str, claim_id: str | None = None, lease_s: float = 60.0) -> LeasedJob:
        """Puts the turn into the hands of a worker that never renews."""
        claim_id = claim_id or uuid4().hex
        await self.enqueue(turn_id)
        await self.queue.zrem("parley:turns", turn_id)
        await cast("Awaitable[int]", self.queue.hset("parley:turns:leases", turn_id, claim_id))
        await self.queue.zadd("parley:turns:running", {turn_id: (datetime.now(UTC).timestamp() + lease_s) * 1000})
        return LeasedJob(self.queue, RunTurn(WORKSPACE, turn_id, "agt_demo", 1), claim_id, b"")

    async def lapse(self, turn_id: str) -> None:
        """The worker has been silent for too long."""
        await self.queue.zadd("parley:turns:running", {turn_id: 1})

    async def claim(self, turn_id: str) -> Lease:
        """As a worker does it: with a started attempt, if there is anything to do."""
        job = await self.lease(turn_id)
        claimed = await self.client.claim(WORKSPACE, turn_id, ClaimTurn(claim_id=job.claim_id))
        started = StartedAttempt(started=False)
        if claimed.run:
            order = StartAttempt(claim_id=job.claim_id, session_id=claimed.session_id, attempt=claimed.attempt)
            started = await self.client.start_attempt(WORKSPACE, turn_id, order)
            assert started.started
        return Lease(job=job, claimed=claimed, started=started)

    async def begin(self, turn_id: str, claim_id: str, attempt: int, **members: Any) -> bool:
        return await begin(self.client, turn_id, claim_id, attempt, **members)

    async def write(self, turn_id: str, attempt: int, *texts: str) -> None:
        """Deltas in the run log, as the attempt's worker writes them."""
        for seq, text in enumerate(texts, 1):
            frame = encode("delta", {"text": text}, FrameId(attempt, seq))
            await self.queue.xadd(log_key(WORKSPACE, turn_id), {"v": VERSION, "f": frame}, id=f"{attempt}-{seq}")

    async def answer(self, session_id: str, text: str = "Hello?", reply: str = "Hi.") -> str:
        """A whole turn, from its admission to its stored end."""
        turn = (await self.admit(session_id, text)).turn
        lease = await self.claim(turn.id)
        assert await lease.job.finish(finished(turn.id, lease.claimed.attempt, reply))
        await self.wait_for_end(turn.id)
        return turn.id

    async def wait_for_end(self, turn_id: str) -> None:
        from tests.conftest import eventually

        async def ended() -> bool:
            return any(event in ("done", "error") for _, event, _ in await self.frames(turn_id))

        await eventually(ended, what=f"the end of {turn_id}")

    async def frames(self, turn_id: str) -> list[tuple[FrameId, str, dict[str, Any]]]:
        rows = await self.dependencies.logs.read(WORKSPACE, turn_id, BEGINNING)
        return [(frame.id or BEGINNING, frame.event, data_of(frame.data)) for frame in rows]

    async def document(self, turn_id: str) -> dict[str, Any]:
        found: dict[str, Any] | None = await self.documents.turns.find_one({"_id": turn_id})
        assert found is not None
        return found

    async def count(self, **where: Any) -> int:
        # The stand-in finds nothing by an index's second field alone.
        return len(await self.documents.turns.find({"workspace": WORKSPACE, **where}).to_list(None))


async def begin(
    client: HistoryClient, turn_id: str, claim_id: str, attempt: int, workspace: str = WORKSPACE, **members: Any
) -> bool:
    order = StartAttempt.model_validate({"claim_id": claim_id, "attempt": attempt, **members})
    return (await client.start_attempt(workspace, turn_id, order)).started


def now() -> datetime:
    """As the wire carries it: whole milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def config(instructions: str = "Be brief.", **members: Any) -> AgentConfig:
    return AgentConfig(name="Demo", instructions=instructions, model=ModelChoice(name="demo"), **members)


def passage(number: int) -> Passage:
    return Passage(source_id=new_id("src"), title=f"Passage {number}", text=f"Text {number}")


def message(text: str, role: str = "user") -> TurnMessage:
    return TurnMessage.model_validate({"id": new_id("msg"), "role": role, "content": text, "created_at": now()})


def order(session_id: str | None, text: str = "Hello?", **members: Any) -> AdmitTurn:
    given = {
        "turn_id": new_id("trn"),
        "session_id": session_id,
        "messages": (message(text),),
        "body_digest": f"digest of {text}",
    }
    return AdmitTurn.model_validate(given | members)


def completion(text: str = "Hello?", *, store: bool = False, **members: Any) -> AdmitTurn:
    return order(
        None,
        text,
        **{"agent_id": "agt_demo", **members},
        completion=CompletionRequest(store=store, parameters={"$odd.name": 1}),
    )


def finished(turn_id: str, attempt: int, reply: str = "Hi.", **members: Any) -> FinishedTurn:
    given: dict[str, Any] = {
        "workspace": WORKSPACE,
        "turn_id": turn_id,
        "attempt": attempt,
        "status": "completed",
        "finish_reason": "stop",
        "output": (message(reply, "assistant"),),
        "usage": Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5),
        "last_seq": 2,
        "ended_at": datetime.now(UTC),
    }
    return FinishedTurn.model_validate(given | members)


def driver_of_tests() -> DriverName:
    """The one of PARLEY_TEST_MONGODB_DRIVER where that is set, else the default."""
    return "pymongo" if os.environ.get("PARLEY_TEST_MONGODB_DRIVER") == "pymongo" else "motor"


def settings_for(mongodb_uri: str, redis_url: str, **members: Any) -> HistorySettings:
    given = {
        "internal_token": TOKEN,
        "mongodb_uri": mongodb_uri,
        "mongodb_database": f"test_{uuid4().hex}",
        "mongodb_driver": driver_of_tests(),
        "queue_redis_url": redis_url,
        "port": free_port(),
        "reconcile_interval_s": 0.2,
        "lease_s": 0.5,
    }
    return HistorySettings.model_validate(given | members)


@asynccontextmanager
async def running(settings: HistorySettings) -> AsyncIterator[History]:
    """The real app on a loopback port. It is not waited for: a test may want it without its stores."""
    base_url = f"http://127.0.0.1:{settings.port}"
    documents: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(settings.mongodb_uri, tz_aware=True)
    queue = TurnQueue.connect(settings.queue_redis_url)
    try:
        async with (
            open_dependencies(settings) as dependencies,
            listening(app_runner(create_app(dependencies)), settings.host, settings.port),
            HistoryClient([base_url], TOKEN) as client,
        ):
            yield History(
                dependencies=dependencies,
                client=client,
                queue=queue,
                base_url=base_url,
                documents=documents[settings.mongodb_database],
            )
    finally:
        await queue.aclose()
        await documents.close()
