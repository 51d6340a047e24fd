"""What a stranger's MCP server may say without harm: to the turn, to the worker, and to the model's context."""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.agent_worker.tools.mcp import McpServers
from services.agent_worker.tools.mcp_client import MAX_PAGES
from services.agent_worker.tools.result import ToolFailure
from services.agent_worker.tools.toolbox import Entry
from shared.contracts.sessions import ToolCall
from shared.contracts.tools import McpTool
from shared.secrets import SecretBox
from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient
from tests.mcp.scripted import ScriptedMcp, text_result, tool
from tests.service.agent_worker.stage import serving


@pytest.fixture
def script() -> ScriptedMcp:
    return ScriptedMcp()


@pytest.fixture
async def url(script: ScriptedMcp) -> AsyncIterator[str]:
    async with serving(*script.routes()) as url:
        yield f"{url}/mcp"


@pytest.fixture
async def servers() -> AsyncIterator[McpServers]:
    policy = OutgoingPolicy(allow=AllowList.parse(["127.0.0.1"]))
    async with GuardedClient(policy) as client, McpServers(client, SecretBox([]), result_bytes=1000) as servers:
        yield servers


async def entries_of(servers: McpServers, url: str, *allow: str) -> dict[str, Entry]:
    given = McpTool.model_validate({"kind": "mcp", "name": "x", "url": url, "allow": allow or ("find",), "timeoutS": 5})
    return {entry.name: entry for entry in await servers.entries("acme", (given,))}


async def called(servers: McpServers, url: str, **arguments: Any) -> str:
    return await servers.call("acme", (await entries_of(servers, url))["x_find"], arguments)


async def failure(servers: McpServers, url: str) -> str:
    with pytest.raises(ToolFailure) as caught:
        await called(servers, url)
    return str(caught.value)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


async def test_a_schema_that_is_too_long_or_too_deep_costs_its_tool(
    servers: McpServers, script: ScriptedMcp, url: str
) -> None:
    long = {"type": "object", "description": "x" * 40_000}
    script.tools = [
        tool("find"),
        tool("long", long),
        tool("deep", nested(40)),
        tool("wrong", {"type": "object", "minProperties": "one"}),
    ]
    entries = await entries_of(servers, url, "find", "long", "deep", "wrong")
    assert list(entries) == ["x_find", "x_wrong"]


async def test_a_description_is_shortened(servers: McpServers, script: ScriptedMcp, url: str) -> None:
    script.tools = [tool("find", description="x" * 100_000)]
    (entry,) = (await entries_of(servers, url)).values()
    assert len(entry.definition["function"]["description"]) == 4096


async def test_names_that_no_model_accepts_are_changed_and_never_collide(
    servers: McpServers, script: ScriptedMcp, url: str
) -> None:
    names = ("a.b", "a/b", "ünï" * 40, "find")
    script.tools = [tool(name) for name in (*names, "find")]
    entries = await entries_of(servers, url, *names)
    assert [(entry.name, entry.remote) for entry in entries.values()][::2] == [("x_a_b", "a.b"), ("x_find", "find")]
    assert len(entries) == 3
    assert all(name.isascii() and len(name) <= 64 for name in entries)


async def test_a_list_without_end_is_read_to_a_limit(servers: McpServers, script: ScriptedMcp, url: str) -> None:
    script.pages = 10_000
    assert await entries_of(servers, url)
    assert script.methods.count("tools/list") == MAX_PAGES


async def test_a_regular_expression_of_the_server_cannot_hold_the_worker(
    servers: McpServers, script: ScriptedMcp, url: str
) -> None:
    slow = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    script.tools = [tool("find", slow, outputSchema=slow)]
    victim = "a" * 40 + "!"
    script.reply = lambda _: {"result": text_result("fine", structuredContent={"a": victim})}
    started = time.monotonic()
    (entry,) = (await entries_of(servers, url)).values()
    arguments = entry.arguments(ToolCall(id="c", name="x_find", arguments=orjson.dumps({"a": victim}).decode()))
    assert await servers.call("acme", entry, arguments) == "fine"
    assert time.monotonic() - started < 20, "unbounded, it would take hours"


async def test_an_error_result_is_read_by_the_model_and_shortened(
    servers: McpServers, script: ScriptedMcp, url: str
) -> None:
    script.reply = lambda _: {"result": text_result("no such ", "order", isError=True)}
    assert await failure(servers, url) == "no such \norder"
    script.reply = lambda _: {"result": text_result("x" * 100_000, isError=True)}
    assert len(await failure(servers, url)) < 1100


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ({"error": {"code": -32601, "message": "no such method"}}, "no such method"),
        ({"error": {"code": -32603, "message": "x" * 100_000}}, "xxx"),
        ({"result": {"resultType": "input_required", "inputRequests": {}, "requestState": "s"}}, "asks for input"),
        ({"result": {"resultType": "complete", "content": 7}}, "does not speak"),
        ({"result": {"resultType": "nonsense"}}, ""),
        ({"result": text_result("x" * 5_000_000)}, "4194304 bytes"),
        ('"result":{"resultType":"complete","content":[{"type":"text","text":"\\ud800"}]}}', ""),
        ('"result":' + '{"a":' * 2000 + "1" + "}" * 2000 + "}", ""),
    ],
)
async def test_an_unusable_answer_is_an_error_result(
    servers: McpServers, script: ScriptedMcp, url: str, reply: Any, complaint: str
) -> None:
    script.reply = lambda _: reply
    told = await failure(servers, url)
    assert complaint in told
    assert len(told) < 1100
    told.encode()
    script.reply = lambda _: {"result": text_result("fine")}
    assert await called(servers, url) == "fine", "the next call is not harmed"


async def test_a_server_that_changed_is_asked_again(servers: McpServers, script: ScriptedMcp, url: str) -> None:
    entry = (await entries_of(servers, url))["x_find"]
    script.reply = lambda _: {"result": text_result("no such order", isError=True)}
    await failure(servers, url)
    assert script.methods.count("tools/list") == 1, "a tool's own error says nothing about the server"
    script.reply = lambda _: {"error": {"code": -32601, "message": "no such tool"}}
    with pytest.raises(ToolFailure):
        await servers.call("acme", entry, {})
    assert "x_find" in await entries_of(servers, url)
    assert script.methods.count("tools/list") == 2


async def test_arguments_that_the_server_wants_in_headers_are_repeated_there(
    servers: McpServers, script: ScriptedMcp, url: str
) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    script.tools = [tool("find", schema)]

    def reply(_: dict[str, Any]) -> dict[str, Any]:
        if "Mcp-Param-Region" in {name.title() for name in script.calls[-1][1]}:
            return {"result": text_result("fine")}
        return {"error": {"code": -32020, "message": "header mismatch"}}

    script.reply = reply
    assert await called(servers, url, region="eu") == "fine"
    assert script.methods[-3:] == ["tools/call", "tools/list", "tools/call"]
