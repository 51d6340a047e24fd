"""The language model of a LiveKit voice agent, as the guide sets it up. Runs in a virtual environment of its own."""

import asyncio
import json
import sys
from typing import Any

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

from livekit.agents import APIConnectOptions, function_tool, llm  # type: ignore[import-not-found]  # noqa: E402
from livekit.plugins import openai  # type: ignore[import-not-found]  # noqa: E402

CONFIG: dict[str, Any] = json.load(sys.stdin)


@function_tool  # type: ignore[untyped-decorator]
async def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@function_tool  # type: ignore[untyped-decorator]
async def time(city: str) -> str:
    """The time of a city."""
    return f"noon in {city}"


def model(agent: str) -> Any:
    return openai.LLM(model=agent, base_url=CONFIG["base"], api_key=CONFIG["key"])


def saying(text: str) -> Any:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=text)
    return context


async def heard(agent: str, context: Any, tools: list[Any] | None = None) -> dict[str, Any]:
    """One answer as the pipeline gets it: text for the voice piece by piece, calls, usage."""
    seen: dict[str, Any] = {"pieces": 0, "text": "", "calls": [], "usage": []}
    # It waits ten seconds for a byte, by default; a pipeline in a hurry sets less, and a test is in one.
    patience = APIConnectOptions(max_retry=1, timeout=7.0)
    try:
        async with model(agent).chat(chat_ctx=context, tools=tools or [], conn_options=patience) as stream:
            async for chunk in stream:
                if chunk.delta is not None:
                    seen["pieces"] += bool(chunk.delta.content)
                    seen["text"] += chunk.delta.content or ""
                    seen["calls"] += [[call.call_id, call.name, call.arguments] for call in chunk.delta.tool_calls]
                if chunk.usage is not None:
                    seen["usage"].append(
                        [chunk.usage.prompt_tokens, chunk.usage.completion_tokens, chunk.usage.prompt_cached_tokens]
                    )
    except Exception as error:
        seen |= {"error": type(error).__name__, "message": str(error), "retryable": getattr(error, "retryable", None)}
    return seen


async def round_trip(agent: str) -> dict[str, Any]:
    context = saying("weather and time?")
    calling = await heard(agent, context, [weather, time])
    for call_id, name, arguments in calling["calls"]:
        result = await {"weather": weather, "time": time}[name](**json.loads(arguments))
        context.items.append(llm.FunctionCall(call_id=call_id, name=name, arguments=arguments))
        context.items.append(llm.FunctionCallOutput(call_id=call_id, name=name, output=result, is_error=False))
    return {"calling": calling, "answer": await heard(agent, context, [weather, time])}


async def main() -> None:
    work = {
        "spoken": heard(CONFIG["echo"], saying("hello")),
        "silent": heard(CONFIG["silent"], saying("wait")),
        "agentsOwn": heard(CONFIG["ownTools"], saying("Where is order 1042?")),
        "roundTrip": round_trip(CONFIG["calls"]),
        "broken": heard(CONFIG["failing"], saying("broken")),
        "refused": heard("agt_unknown", saying("hello")),
    }
    results = await asyncio.gather(*work.values())
    print(json.dumps(dict(zip(work, results, strict=True)) | {"strangers": STRANGERS}))


asyncio.run(main())
