"""Calls of history that a turn waits for, because it cannot go on without their answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from shared.backoff import backoff
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()
T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.3
LAST_PAUSE_S: Final = 2.0


async def until_history_answers(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats the call while history is unavailable. The turn's deadline cancels the wait."""
    for pause_s in backoff(FIRST_PAUSE_S, LAST_PAUSE_S):
        try:
            return await call()
        except ApiError as error:
            if error.code is not Code.DEPENDENCY_UNAVAILABLE:
                raise
            log.warning("history_unreachable")
        await asyncio.sleep(pause_s)
    raise AssertionError("the pauses never end")
