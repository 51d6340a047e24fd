"""A client of the OpenAI-compatible endpoint: streams or waits, repeats with its key, resumes by cursor, walks away."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.system.chaos.events import Accepted, Answered, Asked, Cancelled, Chunked, How, Refused
from tests.system.chaos.questions import question
from tests.system.chaos.talker import frames
from tests.system.chaos.visitor import GONE, SILENCE_S, STREAM_LIMIT_S, WHOLE_ANSWER_S, GaveUp, Visitor, read_json


@dataclass(kw_only=True)
class Order:
    """One completion on its way. `text` and `cursor` are of the stream that may be resumed."""

    request: int
    body: dict[str, Any]
    key: str | None
    walks_away: bool
    turn: str = ""
    text: str = ""
    cursor: str | None = None


@dataclass(kw_only=True)
class Stream:
    """What one stream of chunks has said."""

    text: str = ""
    finish: str | None = None
    done: bool = False
    error: str | None = None
    usage: dict[str, Any] | None = None
    chunks: int = 0

    @property
    def ended(self) -> bool:
        return self.done and self.error is None


class Completer(Visitor):
    async def run(self) -> None:
        while not self.world.closing.is_set():
            with suppress(GaveUp):
                await self._completion()
            await self.think()

    async def _completion(self) -> None:
        dice = self.dice
        request = next(self.world.requests)
        agent = "long" if dice.random() < 0.25 else "short"
        content = question(agent, request, dice)
        stream = dice.random() < 0.8
        body: dict[str, Any] = {
            "model": self.world.agents[agent],
            "messages": [{"role": "user", "content": content}],
            "stream": stream,
            "store": dice.random() < 0.3,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        key = f"completion-{request}" if dice.random() < 0.8 else None
        order = Order(request=request, body=body, key=key, walks_away=dice.random() < 0.15)
        self.world.history.add(Asked(at=self.world.clock(), request=request, content=content, key=key))
        while True:
            self.check_patience(request, order.turn)
            if await self._try(order):
                return
            if key is None:
                return
            await self.pause()

    async def _try(self, order: Order) -> bool:
        """Whether it is answered. A stream that broke is resumed by its cursor, or the request is repeated."""
        if order.key and order.cursor and self.dice.random() < 0.5:
            return await self._resume(order)
        order.text, order.cursor = "", None
        headers = {"Idempotency-Key": order.key} if order.key else {}
        silence_s = SILENCE_S if order.body["stream"] else WHOLE_ANSWER_S
        try:
            async with self.ask("POST", "/chat/completions", order.body, headers, silence_s=silence_s) as response:
                if response.status != 200:
                    return await self._refused(order, response)
                if order.body["stream"]:
                    self.succeeded()
                    return (await self._read(order, response)).ended
                body = await read_json(response)
                self.succeeded()
                return self._answered(order, body)
        except GONE as error:
            self.failed(error)
            return False

    async def _resume(self, order: Order) -> bool:
        name = order.turn.removeprefix("trn_")
        query = f"stream=true&starting_after={order.cursor}&include_usage=true"
        path = f"/chat/completions/chatcmpl-{name}?{query}"
        try:
            async with self.ask("GET", path) as response:
                if response.status != 200:
                    return await self._refused(order, response)
                self.succeeded()
                stream = await self._read(order, response)
        except GONE as error:
            self.failed(error)
            return False
        if stream.error is not None:
            order.cursor = None  # It was begun anew: only the whole of it is of use.
        return stream.ended

    async def _refused(self, order: Order, response: aiohttp.ClientResponse) -> bool:
        problem = await read_json(response)
        code, turn = str(problem.get("code")), str(problem.get("turnId") or "")
        if response.status == 503 and turn:
            self.sent_on(response)
        elif response.status in (429, 503):
            self.failed(response)
        else:
            self.succeeded()
        self.world.history.add(
            Refused(at=self.world.clock(), request=order.request, status=response.status, code=code, turn=turn)
        )
        return not problem.get("retryable")

    def _answered(self, order: Order, body: dict[str, Any]) -> bool:
        now, choice = self.world.clock(), body["choices"][0]
        self._accept(order, body["id"])
        usage = {
            "promptTokens": body["usage"]["prompt_tokens"],
            "completionTokens": body["usage"]["completion_tokens"],
            "totalTokens": body["usage"]["total_tokens"],
        }
        text = choice["message"]["content"] or ""
        self.world.history.add(
            Answered(at=now, request=order.request, turn=order.turn, status="completed", text=text, usage=usage)
        )
        return True

    def _accept(self, order: Order, completion: str) -> None:
        turn = "trn_" + completion.removeprefix("chatcmpl-")
        if order.turn != turn:
            order.turn = turn
            self.world.history.add(Accepted(at=self.world.clock(), request=order.request, turn=turn))

    async def _read(self, order: Order, response: aiohttp.ClientResponse) -> Stream:
        stream, before = Stream(), order.text
        how: How = "cut"
        leave_after = self.dice.randrange(2, 30) if order.walks_away else 0
        try:
            async with asyncio.timeout(STREAM_LIMIT_S):
                async for raw in frames(response):
                    self._take(order, stream, raw.data)
                    if leave_after and stream.chunks >= leave_after and not stream.done:
                        how, order.walks_away = "left", False
                        if order.key is None:
                            self.world.history.add(Cancelled(at=self.world.clock(), turn=order.turn))
                        break
                else:
                    how = "clean"
        except GONE:
            pass
        finally:
            if not stream.ended and how != "left":
                self.go_elsewhere()
            self._record(order, stream, how, before)
        return stream

    def _record(self, order: Order, stream: Stream, how: How, before: str) -> None:
        if not order.turn:
            return
        self.world.history.add(
            Chunked(
                at=self.world.clock(),
                request=order.request,
                turn=order.turn,
                text=stream.text,
                how=how,
                before=before,
                finish=stream.finish,
                done=stream.done,
                error=stream.error,
                usage=stream.usage,
            )
        )

    def _take(self, order: Order, stream: Stream, data: str) -> None:
        stream.chunks += 1
        if data == "[DONE]":
            stream.done = True
            return
        chunk = orjson.loads(data)
        if "error" in chunk:
            stream.error = str((chunk["error"] or {}).get("code"))
            return
        self._accept(order, chunk["id"])
        order.cursor = (chunk.get("parley") or {}).get("cursor") or order.cursor
        stream.usage = chunk.get("usage") or stream.usage
        for choice in chunk["choices"]:
            text = choice["delta"].get("content") or ""
            stream.text += text
            order.text += text
            stream.finish = choice["finish_reason"] or stream.finish
