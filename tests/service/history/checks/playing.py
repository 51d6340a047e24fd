"""A worker's part in checks: it claims every turn of a check and answers it as a function says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from shared.contracts.agent_records import AgentRecord, NewAgent
from shared.contracts.checks import CheckRun, PutChecks, RunChecks
from shared.contracts.errors import ApiError
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, finished

DRAFT: dict[str, Any] = {"name": "Mia's Pizza", "model": {"name": "m"}, "instructions": "One."}
Answer = Callable[[str, int], str]
"""The reply to a question at a place in its conversation, from 1; 0 for a judge's."""


def says(text: str) -> Answer:
    return lambda question, n: text


async def agent_with(history: History, *checks: dict[str, Any], **draft: Any) -> AgentRecord:
    agent = await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=DRAFT | draft))
    await put(history, agent.id, *checks)
    return agent


async def put(history: History, agent_id: str, *checks: dict[str, Any]) -> None:
    await history.client.put_checks(WORKSPACE, agent_id, PutChecks(suite={"checks": list(checks)}))


def check(name: str, *steps: tuple[str, dict[str, Any]], **members: Any) -> dict[str, Any]:
    return {"name": name, "steps": [{"user": user, "expect": [expect]} for user, expect in steps], **members}


async def turns_of(history: History) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await history.documents.turns.find({"workspace": WORKSPACE}).to_list(None)
    return [row for row in rows if "check" in row]


@asynccontextmanager
async def worker(history: History, answer: Answer, **result: Any) -> AsyncIterator[None]:
    """`result`: members of each turn's result beside the reply."""
    task = asyncio.create_task(_work(history, answer, result))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _work(history: History, answer: Answer, result: dict[str, Any]) -> None:
    while True:
        for row in await turns_of(history):
            if row["active"] and row["attempt"] == 0:
                lease = await history.claim(row["_id"])
                reply = answer(row["input"][-1]["content"], row.get("n", 0))
                await lease.job.finish(finished(row["_id"], lease.claimed.attempt, reply, **result))
        await asyncio.sleep(0.02)


async def run_to_end(history: History, agent_id: str, version: int = 0, **members: Any) -> CheckRun:
    run = await history.client.run_checks(WORKSPACE, agent_id, RunChecks(version=version, **members))
    return await ended(history, agent_id, run.id)


async def ended(history: History, agent_id: str, run_id: str) -> CheckRun:
    found: list[CheckRun] = []

    async def has_ended() -> bool:
        try:
            found.append(await history.client.check_run(WORKSPACE, agent_id, run_id))
        except ApiError as error:
            if not error.retryable:
                raise
            return False
        return found[-1].state != "running"

    await eventually(has_ended, within_s=20.0, what="the end of the run")
    return found[-1]
