"""A model server whose every answer is an attack on the worker that asked, and one model that behaves."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from aiohttp import web

Chunks = AsyncIterator[bytes]
MEGABYTE = 1 << 20


def frame(delta: dict[str, Any], finish: str | None = None) -> bytes:
    body = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + orjson.dumps(body) + b"\n\n"


def call(name: str, arguments: str, index: int = 0) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def was_called(body: dict[str, Any]) -> bool:
    """Whether the model has had its tools' results."""
    return bool(body["messages"][-1]["role"] == "tool")


async def text(*words: str) -> Chunks:
    for word in words:
        yield frame({"content": word})
    yield frame({}, "stop")


async def calls(*made: dict[str, Any]) -> Chunks:
    for one in made:
        yield frame({"tool_calls": [one]})
    yield frame({}, "tool_calls")


def once(*made: dict[str, Any]) -> Callable[[dict[str, Any]], Chunks]:
    """Calls tools, and then has its say."""
    return lambda body: text("I ", "tried.") if was_called(body) else calls(*made)


async def endless_text(_: dict[str, Any]) -> Chunks:
    while True:
        yield frame({"content": "x" * 10_000})


async def endless_arguments(_: dict[str, Any]) -> Chunks:
    yield frame({"tool_calls": [call("count", '{"a":"')]})
    while True:
        yield frame({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 10_000}}]})


async def endless_calls(_: dict[str, Any]) -> Chunks:
    index = 0
    while True:
        yield frame({"tool_calls": [call("count", "{}", index)]})
        index += 1


async def malformed_stream(_: dict[str, Any]) -> Chunks:
    yield frame({"content": "Well, "})
    yield b"data: {not json\n\n"
    yield frame({}, "stop")


FOREIGN = "ses_01k00000000000000000000000"

MODELS: dict[str, Callable[[dict[str, Any]], Chunks]] = {
    "honest": lambda _: text("All ", "is ", "well."),
    "unlisted": once(call("delete_everything", "{}"), call("shop_hang", "{}", 1), call("../count", "{}", 2)),
    "ten thousand calls": once(*(call("count", "{}", index) for index in range(10_000))),
    "a call in every answer": lambda _: calls(call("count", "{}")),
    "many calls in every answer": lambda _: calls(*(call("count", "{}", index) for index in range(60))),
    "endless text": endless_text,
    "endless arguments": endless_arguments,
    "endless calls": endless_calls,
    "malformed arguments": once(
        call("count", "{"), call("count", "[1]", 1), call("count", '"' * 99, 2), call("count", "\x00", 3)
    ),
    "a megabyte of arguments": once(call("count", '{"a":"' + "x" * (MEGABYTE - 100_000) + '"}')),
    "deep arguments": once(call("count", '{"a":' + "[" * 900 + "]" * 900 + "}"), call("count", "[" * 50_000, 1)),
    "malformed stream": malformed_stream,
    "another session": once(
        call("end_session", orjson.dumps({"sessionId": FOREIGN}).decode()),
        call("lead", orjson.dumps({"email": "a", "sessionId": FOREIGN, "workspace": "other"}).decode(), 1),
        call("order", orjson.dumps({"id": f"../../other/{FOREIGN}"}).decode(), 2),
        call("order", orjson.dumps({"id": ".."}).decode(), 3),
    ),
    "one id for every call": once(*({**call("count", "{}", index), "id": "same"} for index in range(5))),
}


async def complete(request: web.Request) -> web.StreamResponse:
    body = orjson.loads(await request.read())
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async for chunk in MODELS[body["model"]](body):
        await response.write(chunk)
    await response.write(b"data: [DONE]\n\n")
    return response
