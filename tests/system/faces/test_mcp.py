"""The MCP server of the running stack, driven by the official Python client in both generations of the protocol."""

import asyncio
import os
import signal
from typing import Any

import jsonschema
import mcp_types as types
import pytest
from mcp.client.client import Client as McpClient
from mcp.shared.exceptions import MCPError

from deploy.demo.scripted import scripted_answer
from shared.contracts.tools import HttpTool
from tests.conftest import eventually
from tests.system.faces.cut_line import CutLine
from tests.system.faces.mcp_client import LONG_MODES, MODES, connected
from tests.system.stack import Client, Stack

# The agent that each local stack has from the start.
DEMO = "Mia's Pizza"


@pytest.fixture
def key(stack: Stack) -> str:
    return str(stack.facts["secretKey"])


async def tool_named(client: McpClient, agent_name: str) -> types.Tool:
    """The tool of the newest agent of this name: titles are names."""
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            if tool.title == agent_name:
                return tool
        cursor = page.next_cursor
        assert cursor is not None, f"there is no tool of {agent_name}"


def text_of(result: types.CallToolResult) -> str:
    (first, *_) = result.content
    assert isinstance(first, types.TextContent)
    return first.text


class Progress:
    """What a client's callback was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str | None]] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.told.append((progress, message))

    def is_ordered(self) -> bool:
        values = [value for value, _ in self.told]
        return values == sorted(set(values))


@MODES
async def test_an_agent_is_a_tool_whose_conversation_goes_on(stack: Stack, client: Client, key: str, mode: str) -> None:
    model = "scripted/tokens=40,text=echo,delay=1"
    await stack.publish(model, description="Knows all about pizza.")
    async with connected(client.base_url, key, mode) as mcp:
        assert mcp.server_info is not None
        assert mcp.server_info.name == "parley"
        tool = await tool_named(mcp, model)
        assert "Knows all about pizza." in (tool.description or "")
        progress = Progress()
        first = await mcp.call_tool(tool.name, {"message": "Hello?"}, progress_callback=progress)
        assert not first.is_error
        assert text_of(first) == scripted_answer("Hello?", 40)
        assert tool.output_schema is not None
        jsonschema.validate(first.structured_content, tool.output_schema)
        assert progress.told[0][1] == "The agent has started"
        assert progress.is_ordered()
        session_id = first.structured_content["sessionId"]
        again = await mcp.call_tool(tool.name, {"message": "And now?", "sessionId": session_id})
        assert again.structured_content["sessionId"] == session_id
        for asked, result in (("Hello?", first), ("And now?", again)):
            turn_id = result.structured_content["turnId"]
            assert await client.stored_text(session_id, turn_id) == text_of(result) == scripted_answer(asked, 40)


@MODES
async def test_a_tools_call_is_progress_and_citations_come_with_the_answer(
    stack: Stack, client: Client, key: str, mode: str
) -> None:
    base_url = stack.facts["modelUrl"].removesuffix("/v1")
    order = HttpTool.model_validate({"name": "order_status", "url": f"{base_url}/tools/order_status"})
    model = 'scripted/tokens=4,tool=order_status:{"order_id":"1042"}'
    await stack.publish(model, tools=(order,))
    async with connected(client.base_url, key, mode) as mcp:
        progress = Progress()
        tool = await tool_named(mcp, model)
        result = await mcp.call_tool(tool.name, {"message": "Where is it?"}, progress_callback=progress)
        assert "Calling order_status" in [message for _, message in progress.told]
        found = result.structured_content
        assert text_of(result) == await client.stored_text(found["sessionId"], found["turnId"])
        # The demo agent has knowledge, and its model cites it.
        demo = await tool_named(mcp, DEMO)
        answer = await mcp.call_tool(demo.name, {"message": "What does a Margherita cost?"}, progress_callback=progress)
        citations = answer.structured_content["citations"]
        assert citations
        for citation in citations:
            assert text_of(answer)[citation["start"] : citation["end"]].startswith("[")
        assert any((message or "").startswith("Searching for") for _, message in progress.told)


@LONG_MODES
async def test_a_worker_that_dies_amid_the_answer_is_replaced_unseen(
    stack: Stack, client: Client, key: str, mode: str
) -> None:
    model = "scripted/tokens=120,delay=15,text=echo"
    await stack.publish(model)
    async with connected(client.base_url, key, mode) as mcp:
        tool, progress = await tool_named(mcp, model), Progress()
        calling = asyncio.create_task(mcp.call_tool(tool.name, {"message": "who ends it?"}, progress_callback=progress))
        await eventually(lambda: "Writing the answer" in [message for _, message in progress.told])
        for pid in stack.facts["pids"]["worker"]:
            os.kill(pid, signal.SIGKILL)
        result = await calling
        assert text_of(result) == scripted_answer("who ends it?", 120)
        assert "The agent starts again" in [message for _, message in progress.told]
        assert progress.is_ordered()


@pytest.mark.long
@MODES
async def test_a_worker_that_dies_before_the_answer_goes_unnoticed(
    stack: Stack, client: Client, key: str, mode: str
) -> None:
    model = f"scripted/tokens=20,first={2500 + (mode == 'auto')},text=echo"
    await stack.publish(model)
    async with connected(client.base_url, key, mode) as mcp:
        tool, progress = await tool_named(mcp, model), Progress()
        calling = asyncio.create_task(mcp.call_tool(tool.name, {"message": "who answers?"}, progress_callback=progress))
        await eventually(lambda: bool(progress.told))
        for pid in stack.facts["pids"]["worker"]:
            os.kill(pid, signal.SIGKILL)
        result = await calling
        assert text_of(result) == scripted_answer("who answers?", 20)
        assert progress.is_ordered()


async def test_a_client_of_the_handshake_whose_line_is_cut_gets_the_rest(
    stack: Stack, clients: list[Client], key: str
) -> None:
    model = "scripted/tokens=60,delay=25,text=echo"
    await stack.publish(model)
    async with CutLine(clients[0].base_url) as line, connected(line.url, key, "legacy") as mcp:
        tool, progress = await tool_named(mcp, model), Progress()
        calling = asyncio.create_task(mcp.call_tool(tool.name, {"message": "go on"}, progress_callback=progress))
        await eventually(lambda: len(progress.told) > 1)
        line.cut()
        result = await calling
        assert text_of(result) == scripted_answer("go on", 60)
        assert progress.is_ordered()
        found = result.structured_content
        assert await clients[1].stored_text(found["sessionId"], found["turnId"]) == text_of(result)
        assert len(await clients[1].messages(found["sessionId"])) == 2


async def running_turn(client: Client, agent_id: str) -> dict[str, Any]:
    """The turn that the agent's newest session runs."""
    found: dict[str, Any] = {}

    async def is_there() -> bool:
        _, body = await client.call("GET", f"/chat/sessions?agentId={agent_id}&limit=1")
        if not body["data"] or not body["data"][0]["turnCount"]:
            return False
        found.update(session=body["data"][0]["id"])
        messages = await client.messages(found["session"])
        found.update(turn=messages[0]["turnId"] if messages else "")
        return bool(messages)

    await eventually(is_there)
    return found


async def status_of(client: Client, turn: dict[str, Any]) -> str:
    _, body = await client.call("GET", f"/chat/sessions/{turn['session']}/turns/{turn['turn']}")
    return str(body["data"]["status"])


@MODES
async def test_a_call_that_its_client_gives_up_is_cancelled(
    stack: Stack, clients: list[Client], key: str, mode: str
) -> None:
    """By closing the stream since 2026-07-28, by a notification before."""
    model = f"scripted/tokens=2000,delay=20,vary={int(mode == 'auto')}"
    agent_id = await stack.publish(model)
    async with connected(clients[0].base_url, key, mode) as mcp:
        tool, progress = await tool_named(mcp, model), Progress()
        calling = asyncio.create_task(mcp.call_tool(tool.name, {"message": "long"}, progress_callback=progress))
        await eventually(lambda: len(progress.told) > 1)
        turn = await running_turn(clients[1], agent_id)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

        async def is_cancelled() -> bool:
            return await status_of(clients[1], turn) == "cancelled"

        await eventually(is_cancelled)
        # The connection serves the next call.
        await tool_named(mcp, model)


@MODES
async def test_what_a_model_can_mend_is_a_result_and_the_rest_is_an_error(
    stack: Stack, clients: list[Client], key: str, mode: str
) -> None:
    slow, other = (
        f"scripted/tokens=400,delay=20,first={1 + (mode == 'auto')}",
        f"scripted/tokens=3,first={mode == 'auto':d}",
    )
    agent_id = await stack.publish(slow)
    await stack.publish(other)
    async with connected(clients[0].base_url, key, mode) as mcp:
        tool, stranger = await tool_named(mcp, slow), await tool_named(mcp, other)
        session_id = await clients[0].session(agent_id)
        calling = asyncio.create_task(mcp.call_tool(tool.name, {"message": "one", "sessionId": session_id}))
        await running_turn(clients[1], agent_id)
        busy = await mcp.call_tool(tool.name, {"message": "two", "sessionId": session_id})
        assert busy.is_error
        assert busy.meta is not None
        assert busy.meta["parley/problem"]["code"] == "turn_in_progress"
        await clients[1].call("POST", f"/chat/sessions/{session_id}/end")
        cancelled = await calling
        assert cancelled.is_error
        assert cancelled.structured_content["sessionId"] == session_id
        for arguments, said in (
            ({"message": " "}, "message"),
            ({"message": "hi", "colour": "red"}, "colour"),
            ({"message": "three", "sessionId": session_id}, "ended"),
        ):
            refused = await mcp.call_tool(tool.name, arguments)
            assert refused.is_error
            assert said in text_of(refused)
        foreign = await mcp.call_tool(stranger.name, {"message": "hi", "sessionId": session_id})
        assert "no such session" in text_of(foreign)
        with pytest.raises(MCPError, match="Unknown tool"):
            await mcp.call_tool("ask_nobody", {"message": "hi"})
        with pytest.raises(MCPError, match="There is no method"):
            await mcp.list_prompts()
