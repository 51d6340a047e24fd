from collections.abc import AsyncIterator

import pytest

from deploy.demo.model import create_app
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue
from tests.service.agent_worker.fake_history import FakeHistory
from tests.service.agent_worker.stage import Stage, serving


@pytest.fixture
async def model_url() -> AsyncIterator[str]:
    """The demo process's own server: extractive and scripted models, and the counting tool."""
    async with serving(app=create_app(0.0)) as url:
        yield url


@pytest.fixture
async def stage(redis_url: str, model_url: str) -> AsyncIterator[Stage]:
    queue = TurnQueue.connect(redis_url)
    async with RunLogs([redis_url], keep_s=60) as logs:
        yield Stage(redis_url, model_url, FakeHistory(), queue, logs)
    await queue.aclose()
