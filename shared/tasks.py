"""Ending background tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
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
                task.exception()  # Read, so that nobody warns of it: what a task says while it is ended is of no interest.
