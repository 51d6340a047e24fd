"""OpenAI's Agents SDK on Responses: it runs its own tools, the agent of Parley runs its own on the server."""

import asyncio
import json
import sys
from typing import Any

from agents import (  # type: ignore[import-not-found]
    Agent,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

CONFIG: dict[str, Any] = json.load(sys.stdin)
ASKED: list[str] = []


def weather(city: str) -> str:
    """The weather of a city."""
    ASKED.append(city)
    return "sunny"


def agent(model: str, *tools: Any) -> Any:
    client = AsyncOpenAI(base_url=CONFIG["base"], api_key=CONFIG["key"], max_retries=0, timeout=30)
    asked = OpenAIResponsesModel(model=CONFIG[model], openai_client=client)
    return Agent(name="Client", instructions="Be brief.", model=asked, tools=list(tools))


async def whole() -> dict[str, Any]:
    result = await Runner.run(agent("echo"), "hello")
    second = await Runner.run(agent("echo"), "again", previous_response_id=result.last_response_id)
    return {"text": result.final_output, "second": second.final_output, "response": second.last_response_id}


async def streamed(model: str, question: str, *tools: Any, **options: Any) -> dict[str, Any]:
    result = Runner.run_streamed(agent(model, *tools), question, **options)
    deltas: list[str] = []
    items: list[str] = []
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            deltas.append(event.data.delta)
            print(json.dumps({"model": model, "texts": len(deltas)}), flush=True)
        if event.type == "run_item_stream_event":
            items.append(event.name)
    return {
        "text": result.final_output,
        "deltas": "".join(deltas),
        "items": items,
        "response": result.last_response_id,
    }


async def with_history(tool: Any) -> dict[str, Any]:
    """The SDK's other way: it sends the whole conversation, with the items of the first answer."""
    first = await Runner.run(agent("weather", tool), "weather?")
    sent = [*first.to_input_list(), {"role": "user", "content": "and now?"}]
    second = await Runner.run(agent("echo"), sent)
    return {"first": first.final_output, "second": second.final_output}


async def refused(model: str) -> dict[str, Any]:
    try:
        await Runner.run(agent(model), "hello")
    except Exception as error:
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None)}
    return {}


async def main() -> None:
    set_tracing_disabled(True)
    tool = function_tool(weather)
    seen: dict[str, Any] = {"whole": await whole()}
    seen["streamed"] = await streamed("echo", "hello")
    seen["tool"] = await streamed("weather", "weather?", tool)
    seen["conversation"] = await streamed("echo", "there", conversation_id=CONFIG["conversation"])
    seen["history"] = await with_history(tool)
    seen["cited"] = await streamed("demo", "How long does delivery take to 80202?")
    seen["unknown"] = await refused("unknown")
    seen["failing"] = await refused("failing")
    seen["asked"] = ASKED
    seen["killed"] = await streamed("slow", "late")
    print(json.dumps(seen))


asyncio.run(main())
