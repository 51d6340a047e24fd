"""Tools of every kind in the running stack: what a client of the public API sees of them."""

from collections.abc import AsyncIterator

import pytest

from shared.contracts.tools import BuiltinTool, HttpTool, McpTool
from tests.mcp.process import McpProcess, mcp_server
from tests.system.stack import Client, Stack

FORM = {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}


@pytest.fixture(params=["2026-07-28", "2025-11-25"])
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[McpProcess]:
    async with mcp_server(*(["--only-2025"] if request.param == "2025-11-25" else [])) as process:
        yield process


async def test_http_and_mcp_tools_of_one_turn_are_streamed_and_stored(
    stack: Stack, client: Client, peer: McpProcess
) -> None:
    base_url = stack.facts["modelUrl"].removesuffix("/v1")
    order = HttpTool.model_validate({"name": "order_status", "url": f"{base_url}/tools/order_status"})
    shop = McpTool.model_validate({"kind": "mcp", "name": "shop", "url": peer.url, "allow": ["find_order"]})
    model = 'scripted/tokens=4,tool=order_status:{"order_id":"1042"},tool=shop_find_order:{"order_id":"7"}'
    session_id = await client.session(await stack.publish(model, tools=(order, shop)))
    told = await client.ask(session_id, "Where are they?")
    assert told.end is not None
    assert told.end.event == "done", told.end.data
    results = [frame.data for frame in told.frames if frame.event == "tool_result"]
    assert [(result["name"], result["status"]) for result in results] == [
        ("order_status", "ok"),
        ("shop_find_order", "ok"),
    ]
    assert results[1]["result"] == "Order 7 is on its way."
    stored = [message for message in await client.messages(session_id) if message["role"] == "tool"]
    assert [message["content"] for message in stored] == [result["result"] for result in results]


async def test_a_form_stands_on_the_session_and_the_agent_ends_it(stack: Stack, client: Client) -> None:
    lead = BuiltinTool.model_validate({"kind": "builtin", "builtin": "collect", "name": "lead", "parameters": FORM})
    goodbye = BuiltinTool.model_validate({"kind": "builtin", "builtin": "end_session"})
    model = 'scripted/tokens=4,tool=lead:{"email":"a@b.example"},tool=end_session:{}'
    session_id = await client.session(await stack.publish(model, tools=(lead, goodbye)))
    told = await client.ask(session_id, "I am a@b.example, bye")
    assert told.end is not None
    assert told.end.event == "done", told.end.data
    # `done` is a receipt for the effects as well: nothing is waited for here.
    status, body = await client.call("GET", f"/chat/sessions/{session_id}")
    assert status == 200
    found = body["data"]
    assert (found["status"], found["endedReason"]) == ("ended", "agent")
    assert found["collected"] == {"lead": {"email": "a@b.example"}}
    status, body = await client.call("POST", f"/chat/sessions/{session_id}/messages", {"content": "Still there?"})
    assert (status, body["code"]) == (409, "session_ended")


async def test_a_completion_is_offered_no_tool_that_needs_a_session(stack: Stack, client: Client) -> None:
    goodbye = BuiltinTool.model_validate({"kind": "builtin", "builtin": "end_session"})
    agent_id = await stack.publish("scripted/tokens=4,text=echo,tool=end_session:{}", tools=(goodbye,))
    request = {"model": agent_id, "messages": [{"role": "user", "content": "bye"}]}
    status, body = await client.call("POST", "/chat/completions", request)
    assert status == 200
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_a_secret_reaches_its_tool_and_is_nowhere_else_to_be_read(stack: Stack, client: Client) -> None:
    canary = "canary-5b0c1a77"
    async with mcp_server() as peer:
        secret = {"Authorization": {"value": f"Bearer {canary}"}}
        given = {"kind": "mcp", "name": "shop", "url": peer.url, "allow": ["find_order"], "secretHeaders": secret}
        model = 'scripted/tokens=4,tool=shop_find_order:{"order_id":"7"}'
        agent_id = await stack.publish(model, tools=(McpTool.model_validate(given),))
        told = await client.ask(await client.session(agent_id), "Where is it?")
        assert [frame.data["status"] for frame in told.frames if frame.event == "tool_result"] == ["ok"]
        assert set((await peer.seen())["authorization"]) == {f"Bearer {canary}"}
    async with stack.history() as history:
        version = await history.agent_version(stack.facts["workspace"], agent_id, 1)
        assert canary not in str(version.wire())
    files = [path for path in stack.data_dir.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if canary.encode() in path.read_bytes()] == []
