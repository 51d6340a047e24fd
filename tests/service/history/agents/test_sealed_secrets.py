"""Secrets of agents' tools in MongoDB: sealed, whoever puts the agent there, and kept where nothing new is given."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.tool_secrets import shown_config
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, config, running, settings_for

CANARY = "canary-4f1d"
KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
async def with_key(mongodb_uri: str, redis_url: str) -> AsyncIterator[History]:
    async with running(settings_for(mongodb_uri, redis_url, secrets_keys=KEY)) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        yield history


def agent(**secrets: Any) -> AgentConfig:
    tool = {"name": "look_up", "url": "https://shop.example/x", "secretHeaders": {"X-Key": secrets}}
    return config(tools=(tool,))


async def stored(history: History) -> str:
    row = await history.documents.agents.find_one({"_id": f"{WORKSPACE}:agt_demo"})
    return str(row)


async def test_an_operators_agent_is_stored_with_sealed_secrets(with_key: History) -> None:
    client = with_key.client
    await client.put_agent(WORKSPACE, "agt_demo", agent(value=CANARY))
    first = await client.publish_agent(WORKSPACE, "agt_demo", [])
    assert CANARY not in await stored(with_key)
    assert CANARY not in str(first.wire())
    assert "'sealed': 'gAAAA" in str(first.wire())
    for same in (agent(value=CANARY), shown_config(first.config)):
        await client.put_agent(WORKSPACE, "agt_demo", same)
        assert (await client.publish_agent(WORKSPACE, "agt_demo", [])).number == 1
    await client.put_agent(WORKSPACE, "agt_demo", agent(value="another"))
    assert (await client.publish_agent(WORKSPACE, "agt_demo", [])).number == 2


async def test_without_a_key_no_secret_is_stored(history: History) -> None:
    with pytest.raises(ApiError) as refused:
        await history.client.put_agent(WORKSPACE, "agt_demo", agent(value=CANARY))
    assert refused.value.code is Code.VALIDATION_FAILED
    assert "PARLEY_SECRETS_KEYS" in str(refused.value.problem())
    assert CANARY not in str(refused.value.problem())
    assert await stored(history) == "None"
