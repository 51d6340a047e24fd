"""Budgets of the whole product: many turns at once at a budget's edge, and usage that is what the model reported."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
from pymongo import AsyncMongoClient

from shared.contracts.tools import HttpTool
from tests.conftest import eventually
from tests.system.stack import Client, Stack, gather_bounded

MODEL = "scripted/tokens=8,delay=5"


async def ask(client: Client, agent_id: str, number: int) -> tuple[int, Any, dict[str, str]]:
    body = {"model": agent_id, "messages": [{"role": "user", "content": f"question {number:03}"}]}
    async with client.request("POST", "/chat/completions", body) as response:
        return response.status, await response.json(), dict(response.headers)


async def usage_of(client: Client, agent_id: str) -> dict[str, Any]:
    status, body = await client.call("GET", f"/usage?groupBy=agent&agentId={agent_id}")
    assert status == 200, body
    (row,) = body["data"]
    return dict(row)


async def used(client: Client, agent_id: str) -> tuple[int, int]:
    """Turns and tokens of the agent."""
    row = await usage_of(client, agent_id)
    return row["turns"], row["totalTokens"]


async def test_two_hundred_turns_at_once_overrun_a_budget_by_one_turn_per_worker_at_most(
    stack: Stack, clients: list[Client]
) -> None:
    client, agent_id = clients[0], await stack.publish(MODEL)
    _, first, _ = await ask(client, agent_id, 0)
    one = first["usage"]["total_tokens"]
    limit = 20 * one
    status, body = await client.call("PUT", f"/budgets/agent:{agent_id}", {"day": {"tokens": limit}})
    assert status == 200, body
    assert body["data"]["day"]["usedTokens"] == one
    answers = await gather_bounded(200, 200, lambda number: ask(clients[number % 2], agent_id, number))
    done = [body["usage"]["total_tokens"] for status, body, _ in answers if status == 200]
    refused = [(status, body["code"], headers) for status, body, headers in answers if status != 200]
    workers = len(stack.facts["pids"]["worker"])
    assert limit <= one + sum(done) < limit + workers * one
    assert {(status, code) for status, code, _ in refused} == {(429, "budget_exceeded")}
    assert all(int(headers["Retry-After"]) >= 1 for _, _, headers in refused)
    assert all(headers["x-should-retry"] == "false" for _, _, headers in refused)
    assert (await used(client, agent_id))[1] == one + sum(done)
    status, body = await client.call("GET", f"/budgets/agent:{agent_id}")
    assert (body["data"]["day"]["exceeded"], body["data"]["day"]["usedTokens"]) == (True, one + sum(done))


async def test_usage_is_the_sum_of_the_turns_also_after_workers_and_histories_are_killed(
    stack: Stack, clients: list[Client]
) -> None:
    agent_id = await stack.publish("scripted/tokens=40,delay=20")
    answers: list[tuple[int, Any, dict[str, str]]] = []

    async def post(number: int) -> None:
        client = clients[number % 2]
        body = {"model": agent_id, "messages": [{"role": "user", "content": "hi"}], "store": True}
        async with client.request("POST", "/chat/completions", body) as response:
            answers.append((response.status, await response.json(), {}))

    async def some_have_ended() -> bool:
        return len(answers) >= 5

    asking = asyncio.gather(gather_bounded(30, 6, post))
    await eventually(some_have_ended, within_s=60.0)
    for kind in ("worker", "history"):
        os.kill(stack.facts["pids"][kind][0], signal.SIGKILL)
    await asking
    done = [body["usage"]["total_tokens"] for status, body, _ in answers if status == 200]

    async def history_answers() -> bool:
        return (await clients[0].call("GET", "/usage"))[0] == 200

    await eventually(history_answers, within_s=20.0, what="a history after the kill")
    turns, tokens = await used(clients[0], agent_id)
    assert turns >= len(done) > 0
    assert tokens >= sum(done)

    async def all_are_told() -> bool:
        """Of attempts that were killed `/usage` has an estimate; what was reported is what the turns show."""
        status, body = await clients[0].call("GET", f"/chat/completions?model={agent_id}&limit=100")
        assert status == 200, body
        row, stored = await usage_of(clients[0], agent_id), body["data"]
        reported = row["totalTokens"] - row["estimatedTokens"]
        return bool(row["turns"] == len(stored) and reported == sum(each["usage"]["total_tokens"] for each in stored))

    # Turns of callers that were refused amid the kills may still run.
    await eventually(all_are_told, within_s=20.0, what="a ledger that tells the turns to the token")


async def billed(stack: Stack, http: aiohttp.ClientSession) -> int:
    """All tokens of whole answers that the scripted upstream has given."""
    async with http.get(stack.facts["modelUrl"].removesuffix("/v1") + "/stats") as response:
        return int((await response.json())["billedTokens"])


async def no_turn_runs(stack: Stack) -> bool:
    async with AsyncMongoClient[dict[str, Any]](stack.facts["mongodbUri"]) as documents:
        return await documents.parley.turns.find_one({"active": True}) is None


async def test_usage_is_what_the_upstream_billed_when_workers_are_killed_between_model_calls(
    stack: Stack, client: Client, http: aiohttp.ClientSession
) -> None:
    model_url = stack.facts["modelUrl"].removesuffix("/v1")
    schema = {"type": "object", "properties": {"table": {"type": "integer"}}}
    tool = HttpTool.model_validate(
        {"name": "book", "url": f"{model_url}/tools/count?delay_ms=60000", "retry": "never", "parameters": schema}
    )
    agent_id = await stack.publish('scripted/tokens=5,delay=0,tool=book:{"table":4}', tools=(tool,))
    await eventually(lambda: no_turn_runs(stack), within_s=20.0, what="the end of other turns, which are billed too")
    before = await billed(stack, http)
    async with http.delete(f"{model_url}/tools/counter"):
        pass

    async def is_in_the_tool() -> bool:
        async with http.get(f"{model_url}/tools/counter") as response:
            return bool(await response.json())

    asking = asyncio.create_task(ask(client, agent_id, 1))
    await eventually(is_in_the_tool, within_s=30.0, what="the tool's call")
    for pid in stack.facts["pids"]["worker"]:
        os.kill(pid, signal.SIGKILL)
    status, _, _ = await asking
    assert status == 500  # The tool may not run twice, so the second attempt ends the turn.
    one_call = (await billed(stack, http) - before) // 2
    assert one_call > 0
    assert await used(client, agent_id) == (1, 2 * one_call)
    assert await billed(stack, http) - before == 2 * one_call
