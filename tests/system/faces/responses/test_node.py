"""openai-node's `responses` and `@openai/agents` on them, with the packages of a lock file."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from tests.programs import required_program
from tests.system.openai.node_client import Node
from tests.system.stack import Client, Stack

SCRIPTS = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    required_program("node", "nodejs")
    required_program("npm", "npm")
    return Node.install(tmp_path_factory, SCRIPTS)


@pytest.fixture
def node(stack: Stack, packages: Path) -> Node:
    one, two = stack.facts["gateways"]
    given = {"baseURL": f"{one}/api/v1", "otherURL": f"{two}/api/v1", "apiKey": stack.facts["secretKey"]}
    return Node(packages, given, SCRIPTS)


async def stored(client: Client, response: str) -> str:
    """The text of the transcript that a response belongs to."""
    _, shown = await client.call("GET", f"/responses/{response}")
    return await client.stored_text(shown["conversation"]["id"], "trn_" + response.removeprefix("resp_"))


async def models(stack: Stack, **names: str) -> dict[str, str]:
    return {name: await stack.publish(model) for name, model in names.items()} | {"demo": stack.facts["agentId"]}


async def test_openai_node_asks_in_every_way(stack: Stack, client: Client, node: Node) -> None:
    agents = await models(
        stack,
        echo="scripted/tokens=12,delay=1,text=echo",
        weather='scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo',
        json="scripted/text=json",
        slow="scripted/tokens=100,delay=10,text=echo",
        busy="scripted/tokens=3000,delay=20",
    )
    seen = await node.run("openai.mjs", **agents)
    hello = scripted_answer("hello", 12)
    assert (seen["whole"]["text"], seen["whole"]["same"], seen["whole"]["items"]) == (hello, True, ["hello"])
    assert (seen["helper"]["text"], seen["helper"]["deltas"], seen["helper"]["status"]) == (hello, hello, "completed")
    tool = seen["callersTool"]
    assert (tool["name"], tool["parsed"], tool["text"]) == ("weather", {"city": "Rome"}, scripted_answer("weather?", 9))
    assert seen["structured"] == {"said": "json?"}
    background = seen["background"]
    assert background["first"] in ("queued", "in_progress")
    assert background["text"] == background["followed"] == scripted_answer("later", 12)
    cut = seen["cutOff"]
    assert cut["text"] == cut["final"] == scripted_answer("cut", 100)
    assert cut["inOrder"]
    assert seen["cancelled"] == {
        "status": "cancelled",
        "conflict": {"error": "ConflictError", "status": 409, "code": "turn_in_progress"},
    }
    assert seen["cited"]["kinds"] == ["file_search_call", "message"]
    assert seen["cited"]["annotations"] > 0
    assert (seen["missing"]["error"], seen["missing"]["status"]) == ("NotFoundError", 404)
    assert "No such model" in seen["missing"]["message"]
    for name in ("whole", "helper", "callersTool", "background", "cutOff", "cited"):
        text = seen[name].get("final") or seen[name]["text"]
        assert text == await stored(client, seen[name]["id"]), name


@pytest.mark.long
async def test_openais_agents_for_node_end_with_what_is_stored(stack: Stack, client: Client, node: Node) -> None:
    agents = await models(
        stack,
        echo="scripted/tokens=12,delay=1,text=echo",
        weather='scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo',
        late="scripted/tokens=120,delay=30,text=echo",
        failing="scripted/tokens=40,delay=5,fail=cut,after=20",
    )
    seen = dict[str, Any]()
    async with node.start("agents.mjs", **agents) as documents:
        async for seen in documents:
            if seen.get("kill"):
                for pid in stack.facts["pids"]["worker"]:
                    os.kill(pid, signal.SIGKILL)
    hello = scripted_answer("hello", 12)
    assert seen["whole"]["text"] == seen["streamed"]["text"] == seen["streamed"]["deltas"] == hello
    assert seen["whole"]["second"] == scripted_answer("again", 12)
    assert (seen["tool"]["text"], seen["asked"]) == (scripted_answer("weather?", 9), ["Rome"])
    assert "80202" in seen["cited"]["text"]
    assert (seen["unknown"], seen["failing"]) == ({"status": 404}, {"status": 502})
    assert seen["late"]["text"] == scripted_answer("late", 120)
    for name in ("streamed", "tool", "cited", "late"):
        assert seen[name]["text"] == await stored(client, seen[name]["response"]), name
