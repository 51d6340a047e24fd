"""OpenAI's Agents SDK on Responses: it runs its own tools, the agent of Parley runs its own on the server."""

import asyncio
import json
import sys

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

CONFIG = json.loads(sys.stdin.read())
set_tracing_disabled(True)
asked = []


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    asked.append(city)
    return "sunny"


def agent(model, *tools, **options):
    client = AsyncOpenAI(base_url=CONFIG["base"], api_key=CONFIG["key"], max_retries=0, timeout=30, **options)
    return Agent(
        name="Client",
        instructions="Be brief.",
        model=OpenAIResponsesModel(model=CONFIG[model], openai_client=client),
        tools=list(tools),
    )


async def whole():
    result = await Runner.run(agent("echo"), "hello")
    second = await Runner.run(agent("echo"), "again", previous_response_id=result.last_response_id)
    return {"text": result.final_output, "second": second.final_output, "response": second.last_response_id}


async def streamed(model, question, *tools, **options):
    result = Runner.run_streamed(agent(model, *tools), question, **options)
    deltas, items, texts = "", [], 0
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            deltas += event.data.delta
            texts += 1
            print(json.dumps({"model": model, "texts": texts}), flush=True)
        if event.type == "run_item_stream_event":
            items.append(event.name)
    return {"text": result.final_output, "deltas": deltas, "items": items, "response": result.last_response_id}


async def with_history():
    """The SDK's other way: it sends the whole conversation, with the items of the first answer."""
    first = await Runner.run(agent("weather", weather), "weather?")
    sent = [*first.to_input_list(), {"role": "user", "content": "and now?"}]
    second = await Runner.run(agent("echo"), sent)
    return {"first": first.final_output, "second": second.final_output}


async def refused(model):
    try:
        await Runner.run(agent(model), "hello")
    except Exception as error:
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None)}


async def main():
    seen = {"whole": await whole()}
    seen["streamed"] = await streamed("echo", "hello")
    seen["tool"] = await streamed("weather", "weather?", weather)
    seen["conversation"] = await streamed("echo", "there", conversation_id=CONFIG["conversation"])
    seen["history"] = await with_history()
    seen["cited"] = await streamed("demo", "How long does delivery take to 80202?")
    seen["unknown"] = await refused("unknown")
    seen["failing"] = await refused("failing")
    seen["asked"] = asked
    seen["killed"] = await streamed("slow", "late")
    print(json.dumps(seen))


asyncio.run(main())
