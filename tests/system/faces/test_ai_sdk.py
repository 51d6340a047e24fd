"""The AI SDK's own chat, of three major versions, over the running stack: what it ends with is what is stored.

Every chunk passes the schema of its version: `DefaultChatTransport` throws at one that does not.
"""

import os
import signal
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from tests.system.faces.agents import PASSAGE, agents_of, limited_key
from tests.system.openai.node_client import Node
from tests.system.stack import Stack

MAJORS = [pytest.param(5, marks=pytest.mark.long), pytest.param(6, marks=pytest.mark.long), 7]


def text_of(message: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message["parts"])


def kinds(message: dict[str, Any]) -> list[str]:
    return [part["type"] for part in message["parts"]]


@pytest.mark.parametrize("major", MAJORS)
async def test_a_chat_ends_with_what_is_stored(stack: Stack, node: Node, major: int) -> None:
    names = ["whole", "tools", "citations", "cut", "reload", "stop", "branches", "failing", "limited"]
    agents, key = await agents_of(stack), await limited_key(stack)
    seen = await node.run("ai_sdk.mjs", major=major, agents=agents, scenarios=names, limitedKey=key)
    for name in names[:-1]:
        assert seen[name]["messages"] == seen[name]["stored"], name
    whole = seen["whole"]["messages"]
    hello = [scripted_answer(text, 12) for text in ("hello", "again")]
    assert [text_of(message) for message in whole] == ["hello", hello[0], "again", hello[1]]
    assert whole[1]["metadata"]["usage"]["completionTokens"] == 12
    assert seen["whole"]["status"] == "ready"

    tools = seen["tools"]["messages"][-1]
    calls = [part for part in tools["parts"] if part["type"] == "dynamic-tool"]
    assert [(part["toolName"], part["state"]) for part in calls] == [
        ("book", "output-available"),
        ("lost", "output-error"),
    ] * 2
    assert calls[0]["input"] == {"table": 4}
    assert len({part["toolCallId"] for part in calls}) == 4
    assert seen["tools"]["toolCalls"] == [], "the client was asked to run a tool of the server"

    cited = seen["citations"]["messages"][-1]
    assert cited["parts"][-1]["type"] == "source-url"
    assert cited["parts"][-1]["url"] == PASSAGE.url
    assert cited["metadata"]["citations"][0]["passage"]["id"] == PASSAGE.id

    slow = scripted_answer("hello", 60)
    assert seen["cut"]["before"]["status"] == "error"
    assert slow.startswith(text_of(seen["cut"]["before"]["messages"][-1]))
    for name in ("cut", "reload"):
        assert [text_of(message) for message in seen[name]["messages"]] == ["hello", slow], name
        assert seen[name]["status"] == "ready"
    assert seen["reload"]["nothing"] == 204

    stopped = seen["stop"]
    assert (stopped["answer"], stopped["status"]) == ({"success": True}, "ready")
    assert stopped["messages"][-1]["metadata"]["status"] == "cancelled"
    assert "turn_in_progress" in stopped["refused"]

    branches = seen["branches"]["messages"]
    assert [text_of(message) for message in branches] == ["two", scripted_answer("two", 12)]
    assert len({seen["branches"]["first"], seen["branches"]["second"], branches[-1]["id"]}) == 3

    failing = seen["failing"]
    assert failing["status"] == "error"
    assert "{" not in failing["error"]
    assert failing["messages"][-1]["metadata"]["error"]["code"] == "upstream_error"
    assert seen["limited"]["status"] == "error"
    assert "rate_limited" in seen["limited"]["error"]


@pytest.mark.long
@pytest.mark.parametrize("major", [5, 6, 7])
async def test_a_workers_death_loses_and_doubles_no_text(stack: Stack, node: Node, major: int) -> None:
    agents = {"slow": await stack.publish("scripted/tokens=200,delay=40,text=echo")}
    config: dict[str, Any] = {"major": major, "agents": agents, "scenarios": ["death"]}
    async with node.start("ai_sdk.mjs", **config) as documents:
        await anext(documents)
        for pid in stack.facts["pids"]["worker"]:
            os.kill(pid, signal.SIGKILL)
        seen = (await anext(documents))["death"]
    # ai@7 takes the lost text back in the same stream; older ones get the turn again when they resume.
    assert seen["before"]["status"] == ("ready" if major == 7 else "error")
    assert seen["messages"] == seen["stored"]
    assert text_of(seen["messages"][-1]) == scripted_answer("hello", 200)
