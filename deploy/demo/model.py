"""The demo process: an OpenAI-compatible server of `demo/extractive` and the scripted models, and the agent's tool.

`python -m deploy.demo.model`, configured by PARLEY_HOST, PARLEY_PORT and PARLEY_DEMO_DELAY_MS.
PARLEY_DEMO_PAGE is the file of the page that embeds the widget, served at `/`. It is also the mock
upstream of the benchmarks, so a chunk costs one timer and one write.
"""

import asyncio
import os
import time
from collections import OrderedDict, deque
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from deploy.demo.answer import DONE, Answer, ChunkRenderer, error_body, whole_body
from deploy.demo.book import Book, Told
from deploy.demo.extractive import NAME, extractive_reply
from deploy.demo.page import page_route
from deploy.demo.scripted import PREFIX, KnobError, prompt_key, read_knobs, scripted_reply
from deploy.demo.tools import ToolServer
from shared.web.process import listening, run, wait_for_stop

_PROMPTS_REMEMBERED: Final = 20_000
_BODIES_REMEMBERED: Final = 200
_BATCH: Final = 256


class ModelServer:
    """`/v1/chat/completions`, `/v1/models`; `/stats` counts requests, those running, those whose client went away, and
    the tokens of whole answers.

    `/requests` tells the bodies of the last requests to scripted models, oldest first: what really reaches a model.
    `/asked` tells when each of them came (seconds of the machine's monotonic clock), by its last message.
    `/book` tells what each question has cost, of the last ones (book.py).
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._numbers = count(1)
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._bodies: deque[dict[str, Any]] = deque(maxlen=_BODIES_REMEMBERED)
        self._book = Book()
        self._asked: deque[dict[str, Any]] = deque(maxlen=_BODIES_REMEMBERED)
        self._stats = {"requests": 0, "active": 0, "abandoned": 0, "billedTokens": 0}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self.complete),
            web.get("/v1/models", self.models),
            web.get("/stats", self.stats),
            web.get("/requests", self.requests),
            web.get("/asked", self.asked),
            web.get("/book", self.book),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.healthz),
        ]

    async def healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response(self._stats)

    async def requests(self, _: web.Request) -> web.Response:
        return web.json_response(list(self._bodies))

    async def asked(self, _: web.Request) -> web.Response:
        return web.json_response(list(self._asked))

    async def book(self, _: web.Request) -> web.Response:
        return web.json_response(self._book.questions)

    async def models(self, _: web.Request) -> web.Response:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "parley"}
            for name in (NAME, f"{PREFIX}tokens=64,delay=20")
        ]
        return web.json_response({"object": "list", "data": data})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self._stats["requests"] += 1
        self._stats["active"] += 1
        try:
            return await self._complete(request)
        except (asyncio.CancelledError, ConnectionError):
            self._stats["abandoned"] += 1
            raise
        finally:
            self._stats["active"] -= 1

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = orjson.loads(await request.read())
            messages = [dict(message) for message in body["messages"]]
            answer = self._answer(str(body["model"]), messages, body)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, KnobError) else "the request is not a chat completion"
            return web.json_response(error_body(told), status=400)
        if answer is None:
            return web.json_response(error_body("there is no such model here", code="model_not_found"), status=404)
        if answer.fault is not None and answer.fault.status is not None:
            headers = {"Retry-After": "1"} if answer.fault.status in (429, 503) else None
            return web.json_response(
                error_body("scripted failure", "server_error"), status=answer.fault.status, headers=headers
            )
        return await self._tell(request, answer, body)

    def _answer(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Answer | None:
        tools = (body.get("tools") or []) if body.get("tool_choice") != "none" else []
        if model == NAME:
            return extractive_reply(messages, tools, self._delay_s)
        if model.startswith(PREFIX):
            self._bodies.append(body)
            self._asked.append(
                {"message": messages[-1].get("content") if messages else None, "at": time.perf_counter()}
            )
            knobs = read_knobs(model)
            # Counting costs a hash of the whole prompt: only for those who ask.
            seen = self._count(prompt_key(model, messages)) if knobs.vary or knobs.fail_times is not None else 0
            return scripted_reply(knobs, messages, seen, tools_allowed=bool(tools))
        return None

    def _count(self, key: int) -> int:
        """How often this prompt was seen before; the oldest prompts are forgotten."""
        seen = self._seen.pop(key, 0)
        self._seen[key] = seen + 1
        if len(self._seen) > _PROMPTS_REMEMBERED:
            self._seen.popitem(last=False)
        return seen

    async def _tell(self, request: web.Request, answer: Answer, body: dict[str, Any]) -> web.StreamResponse:
        completion_id, created, model = f"chatcmpl-demo{next(self._numbers)}", int(time.time()), str(body["model"])
        if body.get("stream"):
            asked = bool((body.get("stream_options") or {}).get("include_usage"))
            renderer = ChunkRenderer(completion_id, model, created)
            told = Told()
            try:
                response = await _stream(request, answer, renderer, told, include_usage=asked)
            finally:
                self._book.note(body["messages"], answer.usage, told)
            if answer.fault is None:
                self._bill(answer)
            return response
        await asyncio.sleep(answer.first_s + answer.delay_s * len(answer.pieces))
        if answer.fault is None:
            self._bill(answer)
        else:
            if answer.fault.kind == "hang":
                await asyncio.Event().wait()
            _abort(request)
            raise ConnectionResetError
        return web.json_response(whole_body(answer, completion_id, model, created))

    def _bill(self, answer: Answer) -> None:
        self._stats["billedTokens"] += answer.usage["total_tokens"] if answer.usage is not None else 0


async def _stream(
    request: web.Request, answer: Answer, chunks: ChunkRenderer, told: Told, *, include_usage: bool
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    await response.write(chunks.role())
    fault = answer.fault
    await _write_pieces(response, answer, chunks, told, len(answer.pieces) if fault is None else fault.after)
    if fault is not None:
        return await _go_wrong(request, response, chunks, fault.kind)
    ending = [*chunks.calls(answer.calls), chunks.finish(answer.finish_reason)]
    if include_usage and answer.usage is not None:
        ending.append(chunks.usage(answer.usage))
    told.is_whole = True  # Even if the client goes away during the write: it may have read all of it.
    await response.write(b"".join([*ending, DONE]))
    await response.write_eof()
    return response


async def _write_pieces(
    response: web.StreamResponse, answer: Answer, chunks: ChunkRenderer, told: Told, limit: int
) -> None:
    """A schedule sets the pace, not pauses: then a busy process does not slow the stream further with each piece."""
    pieces = answer.pieces[:limit]
    if not answer.delay_s:
        if answer.first_s:
            await asyncio.sleep(answer.first_s)
        for start in range(0, len(pieces), _BATCH):
            await response.write(b"".join([chunks.text(piece) for piece in pieces[start : start + _BATCH]]))
        told.pieces = len(pieces)
        return
    clock = asyncio.get_running_loop().time
    due = clock() + answer.first_s
    for piece in pieces:
        await asyncio.sleep(max(0.0, due - clock()))
        await response.write(chunks.text(piece))
        told.pieces += 1
        due += answer.delay_s


async def _go_wrong(
    request: web.Request, response: web.StreamResponse, chunks: ChunkRenderer, kind: str
) -> web.StreamResponse:
    match kind:
        case "hang":
            await asyncio.Event().wait()
        case "cut":
            _abort(request)
        case "error_chunk":
            await response.write(chunks.error("scripted failure"))
            await response.write_eof()
        case _:  # nofinish: a clean end of the body, but not of the answer.
            await response.write_eof()
    return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def create_app(delay_s: float) -> web.Application:
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.add_routes([*ModelServer(delay_s).routes(), *ToolServer().routes()])
    if "PARLEY_DEMO_PAGE" in os.environ:
        app.add_routes([page_route(Path(os.environ["PARLEY_DEMO_PAGE"]))])
    return app


async def main() -> None:
    delay_s = float(os.environ.get("PARLEY_DEMO_DELAY_MS", "15")) / 1000
    # A client that goes away cancels its handler, so that a test sees at once that the worker has let go of a model
    # call.
    runner = web.AppRunner(create_app(delay_s), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    async with listening(
        runner, os.environ.get("PARLEY_HOST", "127.0.0.1"), int(os.environ.get("PARLEY_PORT", "8090"))
    ):
        await wait_for_stop()


if __name__ == "__main__":
    run(main, uvloop=True)
