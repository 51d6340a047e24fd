"""A client of the turn queue on the test run's Redis."""

from collections.abc import AsyncIterator

import pytest

from shared.turn_queue.queue import TurnQueue


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[TurnQueue]:
    queue = TurnQueue.connect(redis_url)
    yield queue
    await queue.aclose()
