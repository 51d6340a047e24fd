"""One turn as a stream of frames that goes on whatever breaks: a gateway that dies costs a reconnection, not a word."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import aiohttp
import orjson

from deploy.cli.api import Api, Refused, Unreachable, may_repeat
from deploy.cli.sse import Frame, FrameReader

TERMINAL: Final = frozenset({"done", "error"})
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
GIVE_UP_S: Final = 120.0
# The session may still hold the turn that a lost answer began: these are worth asking again.
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


class TurnStream:
    """Begun by `content` (a new message), or by `turn_id` (a turn that exists, from its start).

    The message goes with an Idempotency-Key, so that repeating it after a lost connection never asks twice.
    """

    def __init__(
        self,
        api: Api,
        session_id: str,
        *,
        content: str | None = None,
        turn_id: str | None = None,
        give_up_s: float = GIVE_UP_S,
        on_break: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._session = f"/chat/sessions/{session_id}"
        self._content = content
        self._key = f"cli-{uuid.uuid4().hex}"
        self._give_up_s = give_up_s
        self._on_break = on_break
        self.turn_id = turn_id
        self.last_id: str | None = None

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Ends after `done` or `error`. Raises Refused, or Unreachable when nothing came for `give_up_s`."""
        loop = asyncio.get_running_loop()
        heard, pause_s = loop.time(), FIRST_PAUSE_S
        while True:
            try:
                async with aclosing(self._once()) as frames:
                    async for frame in frames:
                        heard, pause_s = loop.time(), FIRST_PAUSE_S
                        yield frame
                        if frame.event in TERMINAL:
                            return
            except Refused as refused:
                if refused.status not in _AGAIN or not refused.may_repeat or loop.time() - heard > self._give_up_s:
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if loop.time() - heard > self._give_up_s:
                    raise self._api.unreachable(error) from None
            if loop.time() - heard > self._give_up_s:
                raise Unreachable("the stream brings nothing more")
            self._on_break()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _once(self) -> AsyncGenerator[Frame, None]:
        """The frames of one connection."""
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        if self.turn_id is None:
            body = {"content": self._content, "stream": True}
            request = self._api.open(
                "POST", f"{self._session}/messages", body, {**headers, "Idempotency-Key": self._key}, stream=True
            )
        else:
            request = self._api.open("GET", f"{self._session}/turns/{self.turn_id}/events", None, headers, stream=True)
        async with request as response:
            if response.status == 204:
                # All frames are here but for a terminal one that was cut: read the turn from its start.
                self.last_id = None
                return
            if response.status != 200:
                refused = self._api.refusal(response.status, _problem(await response.read()))
                refused.may_repeat = may_repeat(response.headers)
                raise refused
            reader = FrameReader()
            async for chunk in response.content.iter_any():
                for frame in reader.feed(chunk):
                    self.turn_id = frame.data.get("turnId", self.turn_id) if frame.event == "queued" else self.turn_id
                    self.last_id = frame.id or self.last_id
                    yield frame


def _problem(raw: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {}
