"""Background tasks: loops that are supervised for as long as their process lives, and how tasks are ended."""

import asyncio
import math
import time
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Final

from prometheus_client import Gauge

from shared.log import get_logger

log = get_logger()

AGAIN_S: Final = 1.0
LOOP_AGE = Gauge("parley_loop_age_seconds", "Time since a background loop last succeeded", ["loop"])


class LoopEnded(Exception):
    """A background loop ended by itself. The process cannot do its work any more and must end."""


class StaleLoops(Exception):
    """Background loops that have not succeeded for too long."""


class BackgroundLoops:
    """The long-running tasks of one component.

    A loop that ends before `end` or `expect_end` sets `failed` and is logged as an error.

    A component starts its loops here; the process hands the component's loops to `supervise`, and its `ready` to
    `/readyz`.
    """

    def __init__(self) -> None:
        self.failed = asyncio.Event()
        self.failure = ""
        self.stopping = asyncio.Event()
        self._expected = False
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._limits: dict[str, float] = {}
        self._succeeded_at: dict[str, float] = {}

    def start(
        self, name: str, work: Coroutine[Any, Any, Any], *, stale_after_s: float | None = None
    ) -> "asyncio.Task[Any]":
        """`stale_after_s`: without `succeeded` for so long, the process is not ready; None: it stays ready."""
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        if stale_after_s is not None:
            self._limits[name] = stale_after_s
            self.succeeded(name)
            LOOP_AGE.labels(name).set_function(lambda: max(0.0, time.monotonic() - self._succeeded_at[name]))
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def succeeded(self, name: str) -> None:
        """The loop has done its work once more."""
        self._succeeded_at[name] = time.monotonic()

    def idle(self, name: str) -> None:
        """The loop has nothing to do, so it cannot become stale. Call `succeeded` when it has work again."""
        self._succeeded_at[name] = math.inf

    def _ended(self, name: str, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if self._expected:
            return
        self.failure = self.failure or name
        self.failed.set()
        log.error("loop_ended", loop=name, error=type(error).__name__ if error else None, exc_info=error)

    def expect_end(self) -> None:
        """From now on loops may end by themselves: the component shuts down."""
        self._expected = True

    async def finish(self) -> None:
        """Waits until the loops have ended by themselves. They look at `stopping` between two steps of their work."""
        self.expect_end()
        self.stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def end(self) -> None:
        """Cancels the loops and waits for their end."""
        self.expect_end()
        await end_tasks(self._tasks.values())

    async def ready(self) -> None:
        """Raises StaleLoops, or LoopEnded."""
        if self.failed.is_set():
            raise LoopEnded(self.failure)
        now = time.monotonic()
        if stale := [name for name, limit_s in self._limits.items() if now - self._succeeded_at[name] > limit_s]:
            raise StaleLoops(", ".join(stale))


async def supervise(stop: Awaitable[object], *groups: BackgroundLoops) -> None:
    """Returns when `stop` does. Raises LoopEnded as soon as a loop of the groups ends by itself."""
    stopping = asyncio.ensure_future(stop)
    failures = [asyncio.create_task(group.failed.wait()) for group in groups]
    try:
        await asyncio.wait([stopping, *failures], return_when=asyncio.FIRST_COMPLETED)
        for group in groups:
            if group.failed.is_set():
                raise LoopEnded(group.failure)
        await stopping
    finally:
        await end_tasks([stopping, *failures])


async def loops_ready(*groups: BackgroundLoops) -> None:
    """A readiness check over several components. Raises StaleLoops, or LoopEnded."""
    for group in groups:
        await group.ready()


async def end_tasks(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancels the tasks and waits until every one has ended, whatever it raised.

    One cancellation is not always enough: a client library that is just reconnecting or timing out can swallow it.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=AGAIN_S)
        for task in done:
            if not task.cancelled():
                # Retrieved, so that asyncio does not report it: nobody reads an error during shutdown.
                task.exception()
