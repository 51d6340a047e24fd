"""LangChain for Python, as the guide sets it up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel, SecretStr

from deploy.demo.scripted import scripted_answer
from tests.system.stack import Stack

ECHO = "scripted/tokens=12,delay=1,text=echo,usage=full"


class EarlierTurn(BaseModel):
    said: str


Chat = Callable[..., Awaitable[Any]]


@pytest.fixture
async def chat(stack: Stack) -> AsyncIterator[Chat]:
    """Makes a model from a scripted model's name, or from an agent's id."""
    from langchain_openai import ChatOpenAI

    # Its own client would be kept for the next test, whose event loop is another.
    async with openai.DefaultAsyncHttpxClient() as http:

        async def make(model: str, **more: Any) -> Any:
            facts = stack.facts
            options = {
                "base_url": facts["baseUrl"] + "/api/v1",
                "api_key": SecretStr(facts["secretKey"]),
                "model": await stack.publish(model) if model.startswith("scripted/") else model,
                "max_retries": 0,
                "http_async_client": http,
            }
            return ChatOpenAI(**options, **more)

        yield make


async def test_it_answers_and_streams_with_usage(chat: Chat) -> None:
    model = await chat(ECHO, stream_usage=True)
    whole = await model.ainvoke("hello")
    chunks = [chunk async for chunk in model.astream("hello")]
    assert "".join(chunk.content for chunk in chunks) == whole.content == scripted_answer("hello", 12)
    assert [chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata] == [12]
    assert whole.usage_metadata["output_tokens"] == 12
    assert whole.response_metadata["system_fingerprint"] == "fp_1"


async def test_its_tools_go_round(chat: Chat) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool

    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    model = (await chat('scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo')).bind_tools([weather])
    question = HumanMessage("weather?")
    calling = await model.ainvoke([question])
    (call,) = calling.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Rome"})
    result = ToolMessage(content=weather.invoke(call["args"]), tool_call_id=call["id"])
    assert (await model.ainvoke([question, calling, result])).content == scripted_answer("weather?", 9)


async def test_its_structured_output_is_parsed(chat: Chat) -> None:
    model = (await chat("scripted/tokens=9,delay=1,text=json")).with_structured_output(
        EarlierTurn, method="json_schema"
    )
    assert await model.ainvoke("json?") == EarlierTurn(said="json?")


async def test_it_raises_what_the_endpoint_says(chat: Chat) -> None:
    with pytest.raises(openai.NotFoundError, match="No such model"):
        await (await chat("agt_unknown")).ainvoke("hello")
