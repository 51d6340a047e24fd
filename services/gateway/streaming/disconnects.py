"""Notices clients that close their connection.

aiohttp does not tell a handler, and a silent stream writes only every few seconds.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aiohttp import web

from shared.tasks import BackgroundLoops

POLL_S: Final = 0.2
T = TypeVar("T")


class CallerGone(Exception):
    """The client has closed its connection."""


class DisconnectMonitor:
    """One timer for all watched requests. `async with` it.

    aiohttp's own `handler_cancellation` would do this too, but for every handler, and a message must not be interrupted
    between its admission and its enqueueing.
    """

    def __init__(self) -> None:
        self._watched: dict[asyncio.Task[Any], web.Request] = {}
        self._gone: set[asyncio.Task[Any]] = set()
        self.loops = BackgroundLoops()

    async def __aenter__(self) -> Self:
        self.loops.start("disconnects", self._poll())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.loops.end()

    async def unless_gone(self, request: web.Request, work: Coroutine[Any, Any, T]) -> T:
        """The work's result.

        If the client closes its connection first, the work is cancelled and CallerGone is raised, within 0.25 s.
        """
        task = asyncio.create_task(work)
        self._watched[task] = request
        try:
            return await task
        except asyncio.CancelledError:
            if task in self._gone:
                raise CallerGone from None
            raise
        finally:
            self._watched.pop(task, None)
            self._gone.discard(task)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            for task, request in list(self._watched.items()):
                if task not in self._gone and (request.transport is None or request.transport.is_closing()):
                    self._gone.add(task)
                    task.cancel()
