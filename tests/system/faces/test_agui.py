"""`@ag-ui/client` over the running stack: its verifier takes every run, and what it ends with is what is stored."""

import os
import signal
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from tests.system.faces.agents import PASSAGE, agents_of, limited_key
from tests.system.openai.node_client import Node
from tests.system.stack import Stack


def contents(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages]


def comparable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The client leaves an empty content out."""
    return [{**message, "content": message.get("content") or ""} for message in messages]


async def test_a_thread_ends_with_what_is_stored(stack: Stack, node: Node) -> None:
    names = ["whole", "tools", "citations", "frontend", "cut", "stop", "branches", "failing", "limited"]
    agents, key = await agents_of(stack), await limited_key(stack)
    seen = await node.run("agui.mjs", agents=agents, scenarios=names, limitedKey=key)
    for name in names[:-1]:
        assert comparable(seen[name]["messages"]) == seen[name]["stored"], name
    whole = seen["whole"]
    hello = [scripted_answer(text, 12) for text in ("hello", "again")]
    assert (whole["errors"], contents(whole["messages"])) == ([None, None], ["hello", hello[0], "again", hello[1]])
    assert whole["finished"]["usage"][0]["outputTokens"] == 12
    assert "TEXT_MESSAGE_CONTENT" in whole["events"]

    tools = seen["tools"]
    assert tools["error"] is None
    assert [message["role"] for message in tools["messages"]] == [
        "user",
        *["assistant", "tool", "tool"] * 2,
        "assistant",
    ]
    assert seen["citations"]["custom"]["name"] == "citations"
    assert seen["citations"]["custom"]["value"][0]["passage"]["id"] == PASSAGE.id

    frontend = seen["frontend"]
    assert (frontend["errors"], [each["function"]["name"] for each in frontend["calls"]]) == ([None, None], ["color"])
    assert frontend["messages"][-1]["content"] == scripted_answer("which color?", 5)

    cut, slow = seen["cut"], scripted_answer("hello", 60)
    assert "network error" in cut["error"]
    assert slow.startswith(cut["before"][-1]["content"])
    assert (cut["again"], contents(cut["messages"])) == (None, ["hello", slow])

    stopped = seen["stop"]
    assert (stopped["error"], stopped["answer"]) == (None, {"success": True})
    assert stopped["finished"]["result"]["status"] == "cancelled"
    assert "turn_in_progress" in stopped["refused"]

    assert contents(seen["branches"]["messages"]) == ["one", scripted_answer("one", 12)]
    assert seen["failing"]["failure"]["code"] == "upstream_error"
    assert "rate_limited" in seen["limited"]["error"]


@pytest.mark.long
async def test_a_workers_death_loses_and_doubles_no_text(stack: Stack, node: Node) -> None:
    agents = {"slow": await stack.publish("scripted/tokens=200,delay=40,text=echo")}
    config: dict[str, Any] = {"agents": agents, "scenarios": ["death"]}
    async with node.start("agui.mjs", **config) as documents:
        await anext(documents)
        for pid in stack.facts["pids"]["worker"]:
            os.kill(pid, signal.SIGKILL)
        seen = (await anext(documents))["death"]
    assert seen["error"] is None
    assert "MESSAGES_SNAPSHOT" in seen["events"]
    assert seen["messages"] == seen["stored"]
    assert contents(seen["messages"]) == ["hello", scripted_answer("hello", 200)]
