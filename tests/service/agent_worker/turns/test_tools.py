"""Turns with tools of every kind: HTTP, MCP servers of both protocol generations, and what Parley brings itself."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from services.agent_worker.turns import knowledge_search
from shared.contracts.agents import Passage
from shared.web.guard_rules import AllowList, OutgoingPolicy
from tests.conftest import eventually
from tests.mcp.process import McpProcess, mcp_server
from tests.service.agent_worker.stage import Stage

POLICY = OutgoingPolicy(allow=AllowList.parse(["127.0.0.1"]))
FORM = {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}


@pytest.fixture(params=["2026-07-28", "2025-11-25"])
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[McpProcess]:
    async with mcp_server(*(["--only-2025"] if request.param == "2025-11-25" else [])) as process:
        yield process


def mcp_tool(peer: McpProcess, **given: Any) -> dict[str, Any]:
    allow = ["find_order", "hang"]
    return {"kind": "mcp", "name": "shop", "url": peer.url, "allow": allow, "timeoutS": 60, **given}


def builtin(which: str, **given: Any) -> dict[str, Any]:
    return {"kind": "builtin", "builtin": which, **given}


async def test_an_mcp_server_and_an_http_tool_are_called_in_one_turn_at_the_same_time(
    stage: Stage, peer: McpProcess
) -> None:
    model = 'scripted/tokens=4,tool=count:{"a":1},tool=shop_find_order:{"order_id":"1042"},tool=count:{"a":2}'
    agent = stage.agent(model, tools=[stage.tool(query="?delay_ms=400"), mcp_tool(peer)])
    async with stage.worker(policy=POLICY):
        ended = await stage.ended(await stage.post(agent))
    assert ended.turn.status == "completed"
    assert [call["name"] for call in ended.data("tool_call")] == ["count", "shop_find_order", "count"]
    results = ended.data("tool_result")
    assert [result["status"] for result in results] == ["ok"] * 3
    assert results[1]["result"] == "Order 1042 is on its way."
    tools = [message for message in ended.turn.output if message.role == "tool"]
    assert [message.name for message in tools] == ["count", "shop_find_order", "count"]


async def test_calls_of_one_turn_do_not_wait_for_each_other(stage: Stage, peer: McpProcess) -> None:
    model = "scripted/tokens=4,tool=shop_hang:{},tool=count:{}"
    agent = stage.agent(model, tools=[stage.tool(), mcp_tool(peer, timeoutS=3)])
    async with stage.worker(policy=POLICY):
        job = await stage.post(agent)
        # The HTTP tool is called although the call before it has not come back.
        await eventually(lambda: _hangs(peer), what="the call of the MCP server")
        await eventually(lambda: _counted(stage), what="the call of the HTTP tool")
        assert not (await peer.seen())["cancelled"]
        ended = await stage.ended(job)
    assert [result["status"] for result in ended.data("tool_result")] == ["error", "ok"]
    assert ended.turn.status == "completed"


async def _counted(stage: Stage) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{stage.model_url}/tools/counter") as answer:
        return bool(await answer.json())


async def _hangs(peer: McpProcess) -> bool:
    return bool((await peer.seen())["hanging"])


async def test_a_turn_whose_mcp_server_hangs_ends_at_its_deadline(stage: Stage, peer: McpProcess) -> None:
    agent = stage.agent("scripted/tokens=4,tool=shop_hang:{}", tools=[mcp_tool(peer)])
    async with stage.worker(policy=POLICY):
        ended = await stage.ended(await stage.post(agent, remaining_s=2.0), within_s=8.0)
    assert ended.turn.status == "failed"
    assert ended.turn.error is not None
    assert ended.turn.error["code"] == "turn_timeout"
    assert ended.turn.output[-1].content == "The call was not completed."


async def test_a_turn_whose_mcp_server_hangs_is_cancelled_at_once(stage: Stage, peer: McpProcess) -> None:
    agent = stage.agent("scripted/tokens=4,tool=shop_hang:{}", tools=[mcp_tool(peer)])
    async with stage.worker(policy=POLICY):
        job = await stage.post(agent)
        await eventually(lambda: _hangs(peer), what="the call of the tool")
        await stage.queue.signal_cancel(job.turn_id)
        # The tool's own limit is 60 s.
        ended = await stage.ended(job, within_s=5.0)
        await eventually(lambda: _gave_up(peer), what="the server's cancellation")
    assert ended.turn.status == "cancelled"


async def _gave_up(peer: McpProcess) -> bool:
    return bool((await peer.seen())["cancelled"])


async def test_an_mcp_server_that_is_away_costs_its_tools_and_not_the_turn(stage: Stage) -> None:
    model = 'scripted/tokens=4,text=echo,tool=shop_find_order:{"order_id":"1"}'
    away = {"kind": "mcp", "name": "shop", "url": "http://127.0.0.1:9/mcp", "allow": ["find_order"]}
    agent = stage.agent(model, tools=[away, stage.tool()])
    async with stage.worker(policy=POLICY):
        ended = await stage.ended(await stage.post(agent))
    assert ended.turn.status == "completed"
    assert ended.data("tool_result")[0]["result"] == "There is no such tool."


# --- builtin tools


async def test_what_builtin_tools_do_to_the_session_goes_with_the_turns_end(stage: Stage) -> None:
    model = 'scripted/tokens=4,tool=lead:{"email":"a@b.example"},tool=end_session:{},tool=current_time:{}'
    tools = [builtin("collect", name="lead", parameters=FORM), builtin("end_session"), builtin("current_time")]
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent(model, tools=tools)))
    assert [result["status"] for result in ended.data("tool_result")] == ["ok"] * 3
    assert ended.turn.collected == {"lead": {"email": "a@b.example"}}
    assert ended.turn.end_session


async def test_the_model_can_search_the_agents_knowledge(stage: Stage) -> None:
    stage.history.shelf = [Passage(source_id="src_1", title="Hours", text="We are open until ten.")]
    model = 'scripted/tokens=4,tool=search_knowledge:{"query":"When are you open?"}'
    agent = stage.agent(model, tools=[builtin("search_knowledge")], knowledge={"topK": 0})
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent, "Hello"))
    (retrieval,) = ended.data("kb_retrieval")
    assert retrieval["query"] == "When are you open?"
    (result,) = ended.data("tool_result")
    assert orjson.loads(result["result"])[0]["text"] == "We are open until ten."
    assert orjson.loads(result["result"])[0]["number"] == 1
    stored = [message.knowledge for message in ended.turn.output if message.knowledge]
    assert [[search.wire() for search in searches] for searches in stored] == [[retrieval]]


async def test_texts_of_the_models_own_searches_are_stored_up_to_a_limit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge_search, "MAX_STORED", 10)
    stage.history.shelf = [Passage(source_id="src_1", title="Hours", text="We are open until ten.")]
    model = 'scripted/tokens=4,tool=search_knowledge:{"query":"When are you open?"}'
    agent = stage.agent(model, tools=[builtin("search_knowledge")], knowledge={"topK": 0})
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent, "Hello"))
    (searches,) = [message.knowledge for message in ended.turn.output if message.knowledge]
    assert [(passage.title, passage.text) for passage in searches[0].passages] == [("Hours", "")]
    assert "until ten" in ended.data("tool_result")[0]["result"]


async def test_calls_beyond_a_tools_limit_are_error_results(stage: Stage) -> None:
    model = "scripted/tokens=4,tool=count:{},rounds=3"
    agent = stage.agent(model, tools=[stage.tool(maxCallsPerTurn=2)])
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent))
    assert [result["status"] for result in ended.data("tool_result")] == ["ok", "ok", "error"]
    assert ended.turn.status == "completed"
