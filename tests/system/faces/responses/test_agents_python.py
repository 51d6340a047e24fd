"""`openai-agents` on Responses, by a program in a virtual environment of its own."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from tests.system.openai import python_client
from tests.system.stack import Client, Stack

CLIENTS = Path(__file__).parent / "python"


@pytest.fixture(scope="module")
def agents() -> Path:
    return python_client.installed("agents", CLIENTS)


def kill_workers(stack: Stack) -> None:
    for pid in stack.facts["pids"]["worker"]:
        os.kill(pid, signal.SIGKILL)


async def stored(client: Client, response: str) -> str:
    """The text of the transcript that a response belongs to."""
    status, shown = await client.call("GET", f"/responses/{response}")
    assert status == 200
    return await client.stored_text(shown["conversation"]["id"], "trn_" + response.removeprefix("resp_"))


@pytest.mark.long
@pytest.mark.timeout(360)  # Of which a clean checkout needs the most for the installation.
async def test_the_agents_sdk_ends_with_what_is_stored(stack: Stack, client: Client, agents: Path) -> None:
    facts, echo = stack.facts, await stack.publish("scripted/tokens=12,delay=1,text=echo")
    config = {
        "base": facts["gateways"][0] + "/api/v1",
        "key": facts["secretKey"],
        "echo": echo,
        "weather": await stack.publish('scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo'),
        "slow": await stack.publish("scripted/tokens=120,delay=30,text=echo"),
        "failing": await stack.publish("scripted/tokens=40,delay=5,fail=cut,after=20"),
        "demo": facts["agentId"],
        "unknown": "nobody",
        "conversation": await client.session(echo),
    }
    seen = await _until_killed(stack, agents, config)
    assert (
        seen["whole"]["text"] == seen["streamed"]["text"] == seen["streamed"]["deltas"] == scripted_answer("hello", 12)
    )
    assert seen["whole"]["second"] == scripted_answer("again", 12)
    assert seen["tool"]["text"] == scripted_answer("weather?", 9)
    assert seen["tool"]["items"] == ["tool_called", "tool_output", "message_output_created"]
    assert seen["history"] == {"first": scripted_answer("weather?", 9), "second": scripted_answer("and now?", 12)}
    assert seen["asked"] == ["Rome", "Rome"]
    assert "80202" in seen["cited"]["text"]
    assert seen["unknown"] == {"error": "NotFoundError", "status": 404}
    assert seen["failing"]["status"] == 502
    # A worker died in mid answer: the SDK ends with the whole new one.
    assert seen["killed"]["text"] == scripted_answer("late", 120) != seen["killed"]["deltas"]
    for name in ("streamed", "tool", "conversation", "cited", "killed"):
        assert seen[name]["text"] == await stored(client, seen[name]["response"]), name
    users = [row["content"] for row in await client.messages(config["conversation"]) if row["role"] == "user"]
    assert users == ["there"]


async def _until_killed(stack: Stack, agents: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What the program prints last. The workers are killed while its last stream runs."""
    last = dict[str, Any]()
    async with python_client.start(agents, "agents", config, CLIENTS) as documents:
        async for last in documents:
            if (last.get("model"), last.get("texts")) == ("slow", 5):
                kill_workers(stack)
    return last
