"""A history whose webhooks may reach loopback and are quick to try again."""

from base64 import b64encode
from collections.abc import AsyncIterator

import pytest

from services.history.settings import HistorySettings
from services.history.webhooks import loops
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import History, running, settings_for
from tests.service.history.webhooks.receiver import Receiver, receiving


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops look for work ten times a second, so that a test need not wait for the next second."""
    monkeypatch.setattr(loops, "EVERY_S", 0.1)


@pytest.fixture
def settings(mongodb_uri: str, redis_url: str, database_name: str) -> HistorySettings:
    return settings_for(
        mongodb_uri,
        redis_url,
        mongodb_database=database_name,
        secrets_keys=b64encode(bytes(32)).decode(),
        webhook_allow="127.0.0.1",
        webhook_retry_s=0.05,
        webhook_timeout_s=1.5,
        webhook_give_up_s=60.0,
    )


@pytest.fixture
async def history(settings: HistorySettings) -> AsyncIterator[History]:
    async with running(settings) as started:
        await eventually(lambda: is_ready(started), within_s=20.0, what="a ready history")
        yield started


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as started:
        yield started
