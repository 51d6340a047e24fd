"""Clients of the running stack that speak Responses."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from tests.response_documents import checked_response
from tests.system.stack import Client, Stack

Connect = Callable[..., AsyncOpenAI]


@pytest.fixture
async def connect(stack: Stack) -> AsyncIterator[Connect]:
    """Makes clients of the first gateway that do not retry, unless told otherwise."""
    async with AsyncExitStack() as clients:
        made = list[AsyncOpenAI]()

        def make(**options: Any) -> AsyncOpenAI:
            facts = stack.facts
            given: dict[str, Any] = {
                "base_url": f"{facts['gateways'][0]}/api/v1",
                "api_key": facts["secretKey"],
                "max_retries": 0,
                "timeout": 30.0,
            }
            made.append(AsyncOpenAI(**(given | options)))
            return made[-1]

        yield make
        for client in made:
            await clients.enter_async_context(client)


@pytest.fixture
def sdk(connect: Connect) -> AsyncOpenAI:
    return connect()


def _plain(value: Any) -> Any:
    """Without what the SDK's helpers add by parsing."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items() if not name.startswith("parsed")}
    return [_plain(member) for member in value] if isinstance(value, list) else value


async def assert_stored(client: Client, response: Response) -> None:
    """What the client ended with is what is stored, strictly of OpenAI's shape."""
    async with client.request("GET", f"/responses/{response.id}") as answer:
        raw = await answer.read()
    assert _plain(checked_response(raw).to_dict()) == _plain(response.to_dict())
    assert response.conversation is not None
    turn = "trn_" + response.id.removeprefix("resp_")
    assert response.output_text == await client.stored_text(response.conversation.id, turn)
