"""openai-node, LangChain.js and the Vercel AI SDK, each by a script that prints what it saw."""

from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually
from tests.system.openai.node_client import Node
from tests.system.stack import Stack

ECHO = "scripted/tokens=12,delay=1,text=echo,usage=full"
WEATHER = 'scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo'
JSON = "scripted/tokens=9,delay=1,text=json"


async def test_openai_node(stack: Stack, node: Node) -> None:
    slow = await stack.publish("scripted/tokens=2,first=60000")
    agents = {
        "echo": await stack.publish(ECHO),
        "weather": await stack.publish(WEATHER),
        "json": await stack.publish(JSON),
    }
    seen = await node.run("openai.mjs", slow=slow, **agents)
    hello = scripted_answer("hello", 12)
    assert seen["streamed"]["text"] == seen["whole"]["text"] == hello
    assert seen["streamed"]["usage"] == seen["whole"]["usage"]
    assert seen["whole"]["requestId"].startswith("req_")
    assert (seen["helper"]["text"], seen["helper"]["all"], seen["helper"]["reason"]) == (hello, hello, "stop")
    assert seen["callersTool"] == {
        "name": "weather",
        "arguments": '{"city":"Rome"}',
        "text": scripted_answer("weather?", 9),
    }
    assert seen["toolRunner"] == {"text": scripted_answer("runner?", 9), "asked": "Rome"}
    assert seen["structured"] == {"said": "json?"}
    assert seen["timedOut"] == {"error": "APIConnectionTimeoutError"}
    stored = seen["storedOnes"]
    assert stored["listed"] == stored["ids"]
    assert (stored["updated"], stored["deleted"], stored["left"]) == ({"mark": "other"}, True, stored["ids"][2:])
    assert stored["messages"] == [["user", "c"]]
    assert set(agents.values()) <= set(seen["models"])
    async with stack.history() as history:
        turn_id = "trn_" + seen["brokenOff"]["id"].removeprefix("chatcmpl-")

        async def cancelled() -> bool:
            return (await history.turn(stack.facts["workspace"], turn_id)).turn.status == "cancelled"

        await eventually(cancelled, within_s=5, what="the cancellation of the stream that was left")


async def test_vercel_ai_sdk(stack: Stack, node: Node) -> None:
    seen = await node.run(
        "vercel.mjs",
        echo=await stack.publish(ECHO),
        weather=await stack.publish(WEATHER),
        json=await stack.publish(JSON),
        failing=await stack.publish("scripted/tokens=40,delay=5,fail=cut,after=20"),
        slow=await stack.publish("scripted/tokens=3,first=6000,text=echo"),
    )
    hello = scripted_answer("hello", 12)
    assert (seen["whole"], seen["streamed"], seen["reason"]) == (hello, hello, "stop")
    assert seen["usage"]["outputTokens"] == 12
    assert seen["stepped"] == seen["steppedText"] == scripted_answer("weather?", 9)
    assert seen["asked"] == ["Rome", "Rome"]
    assert seen["structured"] == {"said": "json?"}
    assert seen["silentText"] == scripted_answer("slow", 3)
    assert "text-delta" in seen["parts"]
    assert seen["errors"]
    assert "finish" not in seen["parts"], seen["parts"]
    assert seen["refused"].pop("message").startswith("No such model.")
    assert seen["refused"] == {"status": 404, "retryable": False}


async def test_langchain_js(stack: Stack, node: Node) -> None:
    agents = {
        "echo": await stack.publish(ECHO),
        "weather": await stack.publish(WEATHER),
        "json": await stack.publish(JSON),
    }
    seen = await node.run("langchain.mjs", **agents)
    hello = scripted_answer("hello", 12)
    assert (seen["whole"], seen["streamed"]) == (hello, hello)
    assert seen["usage"]["output_tokens"] == seen["usageOfWhole"]["output_tokens"] == 12
    assert seen["call"] == {"name": "weather", "args": {"city": "Rome"}}
    assert seen["answer"] == scripted_answer("weather?", 9)
    assert seen["structured"] == {"said": "json?"}
    assert "No such model" in seen["refused"]
