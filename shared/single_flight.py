"""Concurrent requests for the same thing share one call."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from shared.tasks import end_tasks

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Calls under way, by key. A caller that is cancelled does not cancel the call for the others."""

    def __init__(self) -> None:
        self._calls: dict[K, asyncio.Task[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()

    async def run(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """The result of the call under way for `key`, or of a new one. All who wait get the same result or error."""
        task = self._calls.get(key)
        if task is None:
            task = self._calls[key] = asyncio.create_task(self._call(key, call))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _call(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        try:
            return await call()
        finally:
            if self._calls.get(key) is asyncio.current_task():
                del self._calls[key]

    def forget(self, key: K) -> None:
        """Whoever asks from now on starts a new call. For answers that must be no older than the question."""
        self._calls.pop(key, None)

    async def end(self) -> None:
        """Cancels the calls under way, and with them their callers."""
        await end_tasks(self._tasks)

    def _ended(self, task: "asyncio.Task[V]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Retrieved: if every caller was cancelled, nobody else does, and asyncio would report it.
