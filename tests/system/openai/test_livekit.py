"""The language model plugin of LiveKit, by a program in a virtual environment of its own."""

from pathlib import Path
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from tests.system.openai import python_client
from tests.system.stack import Stack


@pytest.fixture(scope="module")
def livekit() -> Path:
    return python_client.installed("livekit")


@pytest.mark.timeout(360)  # Of which a clean checkout needs the most for the installation.
async def test_livekit(stack: Stack, livekit: Path) -> None:
    facts = stack.facts
    config: dict[str, Any] = {
        "base": facts["gateways"][0] + "/api/v1",
        "key": facts["secretKey"],
        "echo": await stack.publish("scripted/tokens=12,delay=100,text=echo,usage=full"),
        # Longer than it waits for a byte.
        "silent": await stack.publish("scripted/tokens=3,first=7500,text=echo"),
        "calls": await stack.publish(
            'scripted/tool=weather:{"city":"Rome"},tool=time:{"city":"Oslo"},tokens=9,text=echo'
        ),
        "ownTools": facts["agentId"],
        "failing": await stack.publish("scripted/tokens=40,delay=5,fail=cut,after=20"),
    }
    seen = await python_client.run(livekit, "livekit", config)
    spoken = seen["spoken"]
    assert spoken["text"] == scripted_answer("hello", 12)
    assert spoken["pieces"] > 1
    ((prompt, completion, cached),) = spoken["usage"]
    assert (completion, prompt >= cached > 0) == (12, True)
    assert seen["silent"]["text"] == scripted_answer("wait", 3)
    calling, answer = seen["roundTrip"]["calling"], seen["roundTrip"]["answer"]
    assert [call[1:] for call in calling["calls"]] == [["weather", '{"city":"Rome"}'], ["time", '{"city":"Oslo"}']]
    assert len({call_id for call_id, _, _ in calling["calls"]}) == 2
    assert (answer["text"], answer["calls"]) == (scripted_answer("weather and time?", 9), [])
    # The agent's own tools are run here: a pipeline that was told of them would try to run them too.
    assert "1042" in seen["agentsOwn"]["text"]
    assert seen["agentsOwn"]["calls"] == []
    assert seen["broken"]["text"]
    assert (seen["broken"]["error"], seen["broken"]["retryable"]) == ("APIConnectionError", False), seen["broken"]
    assert "No such model" in seen["refused"]["message"]
    assert seen["strangers"] == []
