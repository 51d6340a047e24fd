"""A client of two faces: chats in the AI SDK's protocol, as ai@5 and as ai@7, and threads in AG-UI's.

It knows no cursor. Where a stream breaks, it asks for the whole turn again: by resuming the chat, or by repeating its
request under the message's or the run's id.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from tests.system.chaos.events import Accepted, Asked, Chunked, How, Refused
from tests.system.chaos.questions import question
from tests.system.chaos.talker import frames
from tests.system.chaos.visitor import GONE, STREAM_LIMIT_S, GaveUp, Visitor, read_json

TURNS_PER_CHAT: Final = 4


@dataclass(kw_only=True)
class Chat:
    """`shown`: the messages that an AG-UI client has. `version`: of the AI SDK; None for AG-UI."""

    name: str
    agent: str
    version: str | None
    shown: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Question:
    request: int
    content: str
    turn: str = ""


@dataclass(kw_only=True)
class Heard:
    """What one connection has told of a turn, from its start."""

    text: str = ""
    finish: str | None = None
    done: bool = False
    error: str | None = None
    usage: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.done and self.error is None


class Chatter(Visitor):
    async def run(self) -> None:
        while not self.world.closing.is_set():
            with suppress(GaveUp):
                await self._chat()

    async def _chat(self) -> None:
        dice = self.dice
        agent = "long" if dice.random() < 0.25 else "short"
        chat = Chat(name=f"chat {next(self.world.requests)}", agent=agent, version=dice.choice(("5", "7", None)))
        for _ in range(TURNS_PER_CHAT):
            if self.world.closing.is_set():
                return
            await self._turn(chat)
            await self.think()

    async def _turn(self, chat: Chat) -> None:
        number = next(self.world.requests)
        asked = Question(request=number, content=question(chat.agent, number, self.dice))
        now, key = self.world.clock(), f"face-{number}"
        self.world.history.add(Asked(at=now, request=number, content=asked.content, key=key))
        chat.shown.append({"id": f"m-{number}", "role": "user", "content": asked.content})
        heard = Heard()
        while True:
            self.check_patience(number, asked.turn)
            heard = await self._try(chat, asked, heard.text)
            if heard.ended:
                break
            await self.pause()
        if heard.text:
            chat.shown.append({"id": f"{asked.turn}.0", "role": "assistant", "content": heard.text})

    async def _try(self, chat: Chat, asked: Question, before: str) -> Heard:
        """`before`: what the client shows of an earlier connection's answer."""
        path = f"/agents/{self.world.agents[chat.agent]}/" + ("agui" if chat.version is None else "ui/chat")
        headers = {} if chat.version is None else {"x-ai-sdk-version": chat.version}
        try:
            if chat.version is not None and asked.turn and self.dice.random() < 0.5:
                name = chat.name.replace(" ", "%20")
                async with self.ask("GET", f"{path}/{name}/stream", None, headers) as response:
                    return await self._answer(asked, response)
            async with self.ask("POST", path, self._body(chat, asked, before), headers) as response:
                return await self._answer(asked, response)
        except GONE as error:
            self.failed(error)
            return Heard(text=before)

    def _body(self, chat: Chat, asked: Question, before: str) -> dict[str, Any]:
        if chat.version is not None:
            message = {"id": f"m-{asked.request}", "role": "user", "parts": [{"type": "text", "text": asked.content}]}
            return {"id": chat.name, "messages": [message], "trigger": "submit-message"}
        partial = [{"id": f"{asked.turn}.0", "role": "assistant", "content": before}] if asked.turn and before else []
        run = {"threadId": chat.name, "runId": f"run-{asked.request}", "messages": [*chat.shown, *partial]}
        return {**run, "tools": [], "context": [], "state": {}}

    async def _answer(self, asked: Question, response: aiohttp.ClientResponse) -> Heard:
        if response.status == 200:
            self.succeeded()
            return await self._read(asked, response)
        problem = await read_json(response)
        if response.status in (429, 503):
            self.failed(response)
        else:
            self.succeeded()
        code = str(problem.get("code"))
        self.world.history.add(Refused(at=self.world.clock(), request=asked.request, status=response.status, code=code))
        return Heard()

    async def _read(self, asked: Question, response: aiohttp.ClientResponse) -> Heard:
        heard, how = Heard(), "cut"
        try:
            async with asyncio.timeout(STREAM_LIMIT_S):
                async for raw in frames(response):
                    self._take(asked, heard, raw.data)
            how = "clean"
        except GONE:
            pass
        if not heard.ended:
            self.go_elsewhere()
        self._record(asked, heard, "clean" if how == "clean" else "cut")
        return heard

    def _record(self, asked: Question, heard: Heard, how: How) -> None:
        if asked.turn:
            self.world.history.add(
                Chunked(
                    at=self.world.clock(),
                    request=asked.request,
                    turn=asked.turn,
                    text=heard.text,
                    how=how,
                    finish=heard.finish,
                    done=heard.done,
                    error=heard.error,
                    usage=heard.usage,
                )
            )

    def _take(self, asked: Question, heard: Heard, data: str) -> None:
        if data == "[DONE]":
            heard.done = heard.error is None
            return
        event = orjson.loads(data)
        match event["type"]:
            case "start":
                self._accept(asked, event["messageId"])
                self._note_session(event["messageMetadata"]["sessionId"])
            case "TEXT_MESSAGE_START":
                self._accept(asked, event["messageId"].partition(".")[0])
            case "text-delta" | "TEXT_MESSAGE_CONTENT":
                heard.text += event["delta"]
            case "reset-step" | "MESSAGES_SNAPSHOT":
                heard.text = ""
            case "finish":
                heard.finish = event["finishReason"]
                heard.usage = _usage(event["messageMetadata"].get("usage") or {}, "completionTokens")
            case "RUN_FINISHED":
                self._accept(asked, event["result"]["turnId"])
                self._note_session(event["result"]["sessionId"])
                heard.finish, heard.done = event["result"]["status"], True
                heard.usage = _usage((event.get("usage") or [{}])[0], "outputTokens")
            case "error" | "RUN_ERROR":
                heard.error = str(event.get("code") or event.get("errorText"))

    def _accept(self, asked: Question, turn: str) -> None:
        if asked.turn != turn:
            asked.turn = turn
            self.world.history.add(Accepted(at=self.world.clock(), request=asked.request, turn=turn))

    def _note_session(self, session: str) -> None:
        """For the transcripts that are read at the end."""
        if session not in self.world.sessions:
            self.world.sessions.append(session)


def _usage(told: dict[str, Any], name: str) -> dict[str, Any] | None:
    return {"completion_tokens": told[name]} if name in told else None
