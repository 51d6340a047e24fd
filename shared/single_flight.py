"""Concurrent requests for the same thing share one call."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Calls under way, by key. A caller that is cancelled does not cancel the call for the others."""

    def __init__(self) -> None:
        self._calls: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """The result of the call under way for `key`, or of a new one. All who wait get the same result or error."""
        task = self._calls.get(key)
        if task is None:
            task = self._calls[key] = asyncio.create_task(self._call(key, call))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _call(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        try:
            return await call()
        finally:
            self.forget(key)

    def forget(self, key: K) -> None:
        """Whoever asks from now on starts a new call. For answers that must be no older than the question."""
        self._calls.pop(key, None)


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """If every caller was cancelled, nobody retrieves the error, and asyncio would report it."""
    if not task.cancelled():
        task.exception()
