"""LiteLLM, as the guide sets it up, by a program in a virtual environment of its own."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.demo.scripted import scripted_answer
from tests.system.openai import python_client
from tests.system.openai.conftest import MintKey, SpareGateway
from tests.system.openai.wire import function, streaming
from tests.system.stack import Client, Stack


@pytest.fixture(scope="module")
def litellm() -> Path:
    return python_client.installed("litellm")


@pytest.mark.timeout(360)  # Of which a clean checkout needs the most for the installation.
async def test_litellm(
    stack: Stack, http: aiohttp.ClientSession, litellm: Path, mint_key: MintKey, spare_gateway: SpareGateway
) -> None:
    facts, limited, busy_key = stack.facts, await spare_gateway(PARLEY_STREAMS_PER_KEY="1"), await mint_key()
    config: dict[str, Any] = {
        "base": facts["gateways"][0] + "/api/v1",
        "key": facts["secretKey"],
        "limited": limited + "/api/v1",
        "busyKey": busy_key,
        "tool": function("weather"),
        "echo": await stack.publish("scripted/tokens=12,delay=1,text=echo,usage=full"),
        "weather": await stack.publish('scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo'),
        "failing": await stack.publish("scripted/tokens=40,delay=5,fail=cut,after=20"),
    }
    async with streaming(Client(http, limited, busy_key), await stack.publish("scripted/tokens=3000,delay=20")) as held:
        await held.next_block()
        seen = await python_client.run(litellm, "litellm", config)
    _check_answers(seen, config)
    _check_calls(seen)
    for status, error, says in (
        (401, "AuthenticationError", "not valid"),
        (404, "NotFoundError", "No such model"),
        (429, "RateLimitError", "too many open streams"),
    ):
        refusal = seen[str(status)]
        assert (refusal["status"], refusal["error"]) == (status, error), refusal
        assert says in refusal["message"]
    hello = scripted_answer("hello", 12)
    assert seen["responded"] == {"text": hello, "deltas": hello, "last": "response.completed", "bridged": hello}
    assert seen["broken"]["text"]
    assert seen["broken"]["error"], seen["broken"]
    assert seen["strangers"] == []


def _check_answers(seen: dict[str, Any], config: dict[str, Any]) -> None:
    hello, whole = scripted_answer("hello", 12), seen["whole"]
    assert (whole["text"], whole["reason"]) == (hello, "stop")
    for stream in (seen["streamed"], seen["streamedWithUsage"]):
        assert (stream["text"], stream["reasons"]) == (hello, ["stop"])
        assert len(stream["ids"]) == 1
        assert stream["ids"][0].startswith("chatcmpl-")
        assert stream["models"] == [config["echo"]]
        # What its callbacks, logs and caches are fed with.
        rebuilt = stream["rebuilt"]
        assert (rebuilt["text"], rebuilt["reason"], rebuilt["id"]) == (hello, "stop", stream["ids"][0])
    (usage,) = seen["streamedWithUsage"]["usages"]
    assert [usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]] == whole["usage"]
    assert seen["streamedWithUsage"]["rebuilt"]["usage"] == whole["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0
    assert seen["streamed"]["usages"] == []


def _check_calls(seen: dict[str, Any]) -> None:
    for answer in (seen["streamedCall"]["rebuilt"], seen["roundTrip"]["calling"]):
        ((call_id, name, arguments),) = answer["calls"]
        assert call_id
        assert (name, arguments, answer["reason"]) == ("weather", '{"city":"Rome"}', "tool_calls")
    assert seen["roundTrip"]["text"] == scripted_answer("weather?", 9)
