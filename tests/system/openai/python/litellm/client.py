"""LiteLLM as the README sets it up: `openai/<agent id>`, `api_base`, `api_key`. It has its own virtual environment."""

import asyncio
import json
import os
import sys
from typing import Any

# Its price list is fetched from the internet unless this is set.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

STRANGERS: list[str] = []


def _note_strangers(event: str, arguments: tuple[Any, ...]) -> None:
    """Whom else this process talks to."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in (None, "127.0.0.1", "localhost"):
        STRANGERS.append(str(host))


sys.addaudithook(_note_strangers)

import litellm  # type: ignore[import-not-found]  # noqa: E402

litellm.suppress_debug_info = True
CONFIG: dict[str, Any] = json.load(sys.stdin)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def ask(agent: str, messages: list[dict[str, Any]], **more: Any) -> Any:
    given = {"api_base": CONFIG["base"], "api_key": CONFIG["key"], "num_retries": 0, "max_retries": 0, "timeout": 20}
    return await litellm.acompletion(model=f"openai/{agent}", messages=messages, **(given | more))


async def streamed(agent: str, text: str, **more: Any) -> dict[str, Any]:
    """Every chunk, and what LiteLLM itself rebuilds from them."""
    messages = user(text)
    chunks = [chunk async for chunk in await ask(agent, messages, stream=True, **more)]
    rebuilt = litellm.stream_chunk_builder(chunks, messages=messages)
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    return {
        "text": "".join(choice.delta.content or "" for choice in choices),
        "reasons": [choice.finish_reason for choice in choices if choice.finish_reason],
        "ids": sorted({chunk.id for chunk in chunks}),
        "models": sorted({chunk.model for chunk in chunks}),
        "usages": [usage.model_dump() for chunk in chunks if (usage := getattr(chunk, "usage", None)) is not None],
        "rebuilt": told(rebuilt),
    }


def told(answer: Any) -> dict[str, Any]:
    message = answer.choices[0].message
    calls = [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or ()]
    usage = answer.usage
    return {
        "text": message.content,
        "calls": calls,
        "reason": answer.choices[0].finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
        "id": answer.id,
    }


async def whole(agent: str, text: str) -> dict[str, Any]:
    return told(await ask(agent, user(text)))


async def round_trip(agent: str, tool: dict[str, Any]) -> dict[str, Any]:
    messages = user("weather?")
    calling = await ask(agent, messages, tools=[tool])
    message = calling.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    answer = await ask(agent, [*messages, message.model_dump(), result], tools=[tool])
    return {"calling": told(calling), "text": answer.choices[0].message.content}


async def refused(agent: str, **more: Any) -> dict[str, Any]:
    try:
        await ask(agent, user("hello"), **more)
    except Exception as error:
        return {"error": type(error).__name__, "status": getattr(error, "status_code", None), "message": str(error)}
    return {}


async def broken(agent: str) -> dict[str, Any]:
    text = ""
    try:
        async for chunk in await ask(agent, user("broken"), stream=True):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    except Exception as error:
        return {"text": text, "error": type(error).__name__, "message": str(error)}
    return {"text": text}


async def responded(agent: str) -> dict[str, Any]:
    """Its `responses`, whole and streamed, and its bridge from Anthropic's Messages, which uses them too."""
    given = {"api_base": CONFIG["base"], "api_key": CONFIG["key"], "num_retries": 0, "max_retries": 0, "timeout": 20}
    answer = await litellm.aresponses(model=f"openai/{agent}", input="hello", **given)
    stream = await litellm.aresponses(model=f"openai/{agent}", input="hello", stream=True, **given)
    events = [event async for event in stream]
    asked = {"model": f"openai/{agent}", "messages": user("hello"), "max_tokens": 100}
    bridged = await litellm.anthropic_messages(**asked, **given)
    return {
        "text": answer.output[0].content[0].text,
        "deltas": "".join(event.delta for event in events if event.type == "response.output_text.delta"),
        "last": events[-1].type,
        "bridged": dict(bridged)["content"][0]["text"],
    }


async def main() -> None:
    echo, weather, tool = CONFIG["echo"], CONFIG["weather"], CONFIG["tool"]
    work = {
        "streamed": streamed(echo, "hello"),
        "streamedWithUsage": streamed(echo, "hello", stream_options={"include_usage": True}),
        "whole": whole(echo, "hello"),
        "streamedCall": streamed(weather, "weather?", tools=[tool]),
        "roundTrip": round_trip(weather, tool),
        "responded": responded(echo),
        "broken": broken(CONFIG["failing"]),
        "401": refused(echo, api_key="parley_sk_test_" + "a" * 43),
        "404": refused("agt_unknown"),
        "429": refused(echo, api_base=CONFIG["limited"], api_key=CONFIG["busyKey"]),
    }
    # One after the other: LiteLLM imports parts of itself in threads when they are first needed, and races with itself.
    print(json.dumps({name: await result for name, result in work.items()} | {"strangers": STRANGERS}))


asyncio.run(main())
