"""A history for each test, before an empty database and an empty Redis."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.history.agents import publishing
from services.history.reconcile import outbox
from shared.contracts.errors import ApiError
from tests.conftest import eventually
from tests.service.history.databases import empty_database
from tests.service.history.running import History, running, settings_for


async def is_ready(history: History) -> bool:
    try:
        await history.client.ready()
    except ApiError:
        return False
    return True


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What adds up to minutes over all tests.

    A history that stops waits for its outbox reader, and a version whose publisher is gone waits for its grace.
    """
    monkeypatch.setattr(outbox, "BLOCK_MS", 20)
    monkeypatch.setattr(publishing, "PREPARING_GRACE", timedelta(seconds=0.3))


@pytest.fixture
async def database_name(mongodb_uri: str) -> AsyncIterator[str]:
    async with empty_database(mongodb_uri) as name:
        yield name


@pytest.fixture
async def history(mongodb_uri: str, redis_url: str, database_name: str) -> AsyncIterator[History]:
    async with running(settings_for(mongodb_uri, redis_url, mongodb_database=database_name)) as started:
        await eventually(lambda: is_ready(started), within_s=20.0, what="a ready history")
        yield started
