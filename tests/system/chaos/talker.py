"""A client of sessions: posts, streams, leaves and resumes, cancels, repeats with its idempotency key, reads again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from tests.system.chaos.events import (
    Accepted,
    Answered,
    Asked,
    Cancelled,
    Closed,
    Deleted,
    Deleting,
    Ending,
    Frame,
    How,
    Looked,
    Opened,
    Refused,
)
from tests.system.chaos.questions import question
from tests.system.chaos.sse import RawFrame, Splitter
from tests.system.chaos.visitor import (
    GONE,
    SILENCE_S,
    STREAM_LIMIT_S,
    WHOLE_ANSWER_S,
    GaveUp,
    Visitor,
    assistant_text,
    read_json,
)

TURNS_PER_SESSION: Final = 8
# How often a session is ended or deleted beside a turn, and how long after the turn was asked for at most.
ENDED_MEANWHILE: Final = 0.015
DELETED_MEANWHILE: Final = 0.025
MEANWHILE_S: Final = 3.0
TERMINAL: Final = ("done", "error")
Leave = Callable[[Visitor, str], Awaitable[None]]


@dataclass(kw_only=True)
class Reading:
    """One view of one turn, over all of its resumes."""

    view: int
    turn: str
    last_id: str | None = None
    ended: bool = False


@dataclass(kw_only=True)
class Wish:
    """One message on its way to its answer."""

    request: int
    session: str
    content: str
    key: str | None
    stream: bool
    cancel_after: int = 0  # Frames; 0: it is not cancelled.
    leave_after: int = 0  # Frames, each time; 0: the client stays.
    leaves: int = 3
    turn: str = ""


class Talker(Visitor):
    async def run(self) -> None:
        while not self.world.closing.is_set():
            agent = "long" if self.dice.random() < 0.25 else "short"
            with suppress(GaveUp):
                await self._session(agent)

    async def _session(self, agent: str) -> None:
        created = await self.call("POST", "/chat/sessions", {"agentId": self.world.agents[agent]})
        if created is None:
            raise AssertionError("the agent is not there")
        session = created["id"]
        self.world.sessions.append(session)
        for _ in range(TURNS_PER_SESSION):
            if self.world.closing.is_set():
                return
            if not await self._turn(session, agent):
                return
            await self.think()
        dice = self.dice.random()
        if dice < 0.15:
            await self._delete(self, session)
            await self._look_again(session, None)
        elif dice < 0.6:
            await self._end(self, session)

    async def _turn(self, session: str, agent: str) -> bool:
        """False when the session has to be given up: without a key nobody knows what became of a broken request."""
        dice = self.dice
        request = next(self.world.requests)
        wish = Wish(
            request=request,
            session=session,
            content=question(agent, request, dice),
            key=f"key-{request}" if dice.random() < 0.9 else None,
            stream=dice.random() < 0.8,
            cancel_after=dice.randrange(1, 20) if dice.random() < 0.08 else 0,
            leave_after=dice.randrange(1, 25) if dice.random() < 0.3 else 0,
        )
        now = self.world.clock()
        self.world.history.add(Asked(at=now, request=request, session=session, content=wish.content, key=wish.key))
        chance = dice.random()
        if chance < ENDED_MEANWHILE:
            return await self._meanwhile(wish, self._end)
        if chance < ENDED_MEANWHILE + DELETED_MEANWHILE:
            await self._meanwhile(wish, self._delete)
            return await self._look_again(session, wish)
        if not await self._have_answered(wish):
            return False
        if wish.turn and dice.random() < 0.2:
            await self._read_again(wish)
        if wish.key and dice.random() < 0.1:
            wish.stream = not wish.stream
            wish.leave_after = wish.cancel_after = 0
            await self._have_answered(wish)
        return True

    # --- ending and deleting

    async def _meanwhile(self, wish: Wish, leave: Leave) -> bool:
        """Has the message answered while the same client, on another connection, ends or deletes the session.

        False: it is over.
        """

        async def soon() -> None:
            await asyncio.sleep(self.dice.uniform(0.0, MEANWHILE_S))
            await leave(Visitor(self.world, self.dice), wish.session)

        leaving = asyncio.create_task(soon())
        try:
            await self._have_answered(wish)
            await leaving
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        return False

    async def _end(self, visitor: Visitor, session: str) -> None:
        self.world.history.add(Ending(at=self.world.clock(), session=session))
        await visitor.call("POST", f"/chat/sessions/{session}/end")

    async def _delete(self, visitor: Visitor, session: str) -> None:
        self.world.deleting.add(session)
        self.world.history.add(Deleting(at=self.world.clock(), session=session))
        status = await visitor.status("DELETE", f"/chat/sessions/{session}")
        now = self.world.clock()
        # A deletion may be repeated: there is no answer but this one, however many were lost.
        done = (
            Deleted(at=now, session=session)
            if status == 200
            else Looked(at=now, session=session, what="DELETE", status=status)
        )
        self.world.history.add(done)

    async def _look_again(self, session: str, wish: Wish | None) -> bool:
        """By every way to a part of the deleted session. False: it is over."""
        base = f"/chat/sessions/{session}"
        paths = [base, f"{base}/messages"]
        if wish is not None and wish.turn:
            paths += [f"{base}/turns/{wish.turn}", f"{base}/turns/{wish.turn}/events"]
        for path in paths:
            await self._look(session, "GET", path)
        if wish is not None and wish.key:
            body = {"content": wish.content, "stream": True}
            await self._look(session, "POST", f"{base}/messages", body, {"Idempotency-Key": wish.key})
        return False

    async def _look(
        self, session: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        now = self.world.clock()
        status = await self.status(method, path, body, headers)
        what = f"{method} {path.removeprefix(f'/chat/sessions/{session}') or '/'}"
        self.world.history.add(Looked(at=now, session=session, what=what, status=status))

    # --- asking

    async def _have_answered(self, wish: Wish) -> bool:
        while True:
            self.check_patience(wish.request, wish.turn)
            answered = await self._post(wish)
            if answered is not None:
                return answered
            if wish.key is None:
                return False
            await self.pause()

    async def _post(self, wish: Wish) -> bool | None:
        """True: answered · None: to be repeated."""
        headers = {"Idempotency-Key": wish.key} if wish.key else {}
        body = {"content": wish.content, "stream": wish.stream}
        silence_s = SILENCE_S if wish.stream else WHOLE_ANSWER_S
        try:
            async with self.ask(
                "POST", f"/chat/sessions/{wish.session}/messages", body, headers, silence_s=silence_s
            ) as response:
                if response.status != 200:
                    return await self._refused(wish, response)
                if not wish.stream:
                    data = (await read_json(response))["data"]
                    self.succeeded()
                    return self._answered(wish, data)
                self.succeeded()
                reading = await self._first_stream(wish, response)
        except GONE as error:
            self.failed(error)
            return None
        if reading is None:
            return None
        return await self._read_on(wish, reading)

    def _answered(self, wish: Wish, data: dict[str, Any]) -> bool:
        now = self.world.clock()
        wish.turn = data["turnId"]
        self.world.history.add(Accepted(at=now, request=wish.request, turn=wish.turn))
        text, usage = assistant_text(data["messages"]), data.get("usage") or {}
        self.world.history.add(
            Answered(at=now, request=wish.request, turn=wish.turn, status=data["status"], text=text, usage=usage)
        )
        return True

    async def _refused(self, wish: Wish, response: aiohttp.ClientResponse) -> bool | None:
        problem = await read_json(response)
        code, turn = str(problem.get("code")), str(problem.get("turnId") or "")
        self.world.history.add(
            Refused(at=self.world.clock(), request=wish.request, status=response.status, code=code, turn=turn)
        )
        if response.status == 503 and turn:
            self.sent_on(response)
        elif response.status in (429, 503):
            self.failed(response)
        else:
            self.succeeded()
        if code == "turn_in_progress":
            # An earlier request of ours without a key was accepted after all, or this one's first delivery is just
            # being admitted.
            await self._wait_for(wish, str(problem.get("activeTurnId")))
            return None
        return None if response.status in (429, 503) or problem.get("retryable") else True

    async def _wait_for(self, wish: Wish, turn: str) -> None:
        reading = Reading(view=next(self.world.views), turn=turn)
        while not reading.ended:
            self.check_patience(wish.request, turn)
            if not await self._follow(wish, reading):
                return
            await self.pause()

    # --- reading

    async def _first_stream(self, wish: Wish, response: aiohttp.ClientResponse) -> Reading | None:
        """The stream of the POST itself. None: it broke before it named its turn."""
        reading = Reading(view=next(self.world.views), turn="")
        await self._read(wish, reading, response)
        return reading if reading.turn else None

    async def _read_on(self, wish: Wish, reading: Reading) -> bool | None:
        """Resumes until the end; now and then by the idempotency key instead of by the stream's id."""
        while not reading.ended:
            self.check_patience(wish.request, reading.turn)
            if wish.key and self.dice.random() < 0.1:
                return None
            if not await self._follow(wish, reading):
                return True
            if not reading.ended:
                await self.pause()
        return True

    async def _read_again(self, wish: Wish) -> None:
        """From the start, long after the end."""
        reading = Reading(view=next(self.world.views), turn=wish.turn)
        wish.leave_after = 0
        while not reading.ended:
            self.check_patience(wish.request, wish.turn)
            if not await self._follow(wish, reading):
                return
            if not reading.ended:
                await self.pause()

    async def _follow(self, wish: Wish, reading: Reading) -> bool:
        """One resume, at any gateway. False: there is nothing (more) to read."""
        headers = {"Last-Event-ID": reading.last_id} if reading.last_id else {}
        opened = Opened(
            at=self.world.clock(), view=reading.view, turn=reading.turn, session=wish.session, after=reading.last_id
        )
        try:
            async with self.ask(
                "GET", f"/chat/sessions/{wish.session}/turns/{reading.turn}/events", None, headers
            ) as response:
                if response.status in (429, 503):
                    self.failed(response)
                else:
                    self.succeeded()
                if response.status != 200:
                    # Also a 204: who asks has not seen the end yet.
                    problem = await read_json(response)
                    self.world.history.add(
                        Refused(
                            at=self.world.clock(),
                            request=wish.request,
                            status=response.status,
                            code=str(problem.get("code")),
                        )
                    )
                    return response.status in (429, 503)
                if reading.last_id is None:
                    # Without an id the stream tells everything from the start: that is another view.
                    reading.view = next(self.world.views)
                    opened = Opened(at=opened.at, view=reading.view, turn=reading.turn, session=wish.session)
                self.world.history.add(opened)
                await self._read(wish, reading, response)
        except GONE as error:
            self.failed(error)
        return True

    async def _read(self, wish: Wish, reading: Reading, response: aiohttp.ClientResponse) -> None:
        how: How = "cut"
        count = 0
        try:
            async with asyncio.timeout(STREAM_LIMIT_S):
                async for raw in frames(response):
                    self._take(wish, reading, raw)
                    count += 1
                    if count == wish.cancel_after:
                        wish.cancel_after = 0
                        await self._cancel(wish, reading.turn)
                    if count == wish.leave_after and wish.leaves and not reading.ended:
                        how = "left"
                        wish.leaves -= 1
                        return
            how = "clean"
        except GONE:
            pass
        finally:
            if not reading.ended and how != "left":
                self.go_elsewhere()
            self.world.history.add(Closed(at=self.world.clock(), view=reading.view, how=how))

    def _take(self, wish: Wish, reading: Reading, raw: RawFrame) -> None:
        now, data = self.world.clock(), orjson.loads(raw.data)
        if raw.event == "queued" and not reading.turn:
            reading.turn = wish.turn = data["turnId"]
            self.world.history.add(Accepted(at=now, request=wish.request, turn=wish.turn))
            self.world.history.add(Opened(at=now, view=reading.view, turn=reading.turn, session=wish.session))
        reading.last_id = raw.id or reading.last_id
        reading.ended = reading.ended or raw.event in TERMINAL
        self.world.history.add(
            Frame(at=now, view=reading.view, id=raw.id, event=raw.event, data=_trimmed(raw.event, data))
        )

    async def _cancel(self, wish: Wish, turn: str) -> None:
        self.world.history.add(Cancelled(at=self.world.clock(), turn=turn))
        try:
            async with asyncio.timeout(5.0):
                await self.call("POST", f"/chat/sessions/{wish.session}/turns/{turn}/cancel", request=wish.request)
        except TimeoutError:
            pass


async def frames(response: aiohttp.ClientResponse) -> AsyncIterator[RawFrame]:
    """Until the body ends. Raises GONE's exceptions when it breaks off."""
    splitter = Splitter()
    async for data in response.content.iter_any():
        for raw in splitter.feed(data):
            yield raw


def _trimmed(event: str, data: dict[str, Any]) -> dict[str, Any]:
    """What the checker compares."""
    match event:
        case "delta":
            return {"text": data["text"]}
        case "done":
            return {
                "status": data["status"],
                "text": assistant_text(data["messages"]),
                "usage": data.get("usage") or {},
            }
        case "error":
            return {"code": data.get("code")}
        case "restarted":
            return {"attempt": data.get("attempt"), "reason": data.get("reason")}
    return {}
