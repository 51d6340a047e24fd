"""A gateway for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.service.gateway.fakes import Stage, stage


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Stage]:
    async with stage(redis_url) as running:
        yield running
