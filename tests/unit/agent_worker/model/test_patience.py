"""The timeout that is moved at every read, on the loop that production runs on."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from services.agent_worker.model.patience import Patience

Run = Callable[[Coroutine[Any, Any, None]], None]


async def move_once_it_is_due() -> None:
    async with Patience(asyncio.get_running_loop().time()) as patience:
        patience.until(math.inf)
        await asyncio.sleep(0.02)
        patience.until(patience.now() + 5.0)


async def wait_for_too_long() -> None:
    async with Patience(asyncio.get_running_loop().time() + 30.0) as patience:
        patience.until(patience.now() + 0.02)
        await asyncio.sleep(5.0)


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_timeout_that_is_moved_when_it_is_due_lets_go_on(run: Run) -> None:
    run(move_once_it_is_due())


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_timeout_that_is_drawn_nearer_fires(run: Run) -> None:
    with pytest.raises(TimeoutError):
        run(wait_for_too_long())
