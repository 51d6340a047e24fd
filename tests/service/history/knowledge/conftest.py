"""History with an ingest worker in this process: it extracts in real child processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.agent_worker.ingest.child import Limits
from services.agent_worker.ingest.consumer import IngestConsumer
from services.agent_worker.ingest.pages import Pages
from services.agent_worker.ingest.reader import SourceReader
from shared.history_client import HistoryClient
from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient
from tests.service.history.conftest import history
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import TOKEN, History

__all__ = ["history"]


@asynccontextmanager
async def ingesting(history: History, *, lease_s: float = 5.0, limits: Limits | None = None) -> AsyncIterator[None]:
    policy = OutgoingPolicy(allow=AllowList.parse(["127.0.0.1"]), ports=frozenset({80, 443}))
    async with HistoryClient([history.base_url], TOKEN, timeout_s=30.0) as client, GuardedClient(policy) as guarded:
        reader = SourceReader(client, Pages(guarded), limits or Limits())
        consumer = IngestConsumer(client, reader, concurrency=2, lease_s=lease_s)
        consumer.start()
        try:
            yield
        finally:
            await consumer.drain()


@pytest.fixture
async def knowledge(history: History) -> AsyncIterator[Knowledge]:
    async with ingesting(history):
        yield await Knowledge.of_new_agent(history)
