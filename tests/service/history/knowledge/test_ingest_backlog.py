"""What waits for an ingest worker is told by history, which is there when no ingest worker is."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from services.history.knowledge.ingest_backlog import COUNTED, IngestBacklog
from shared.contracts.knowledge import IngestOutcome
from tests.conftest import eventually
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import History


def told(name: str, queue: str = "ingest") -> float:
    return REGISTRY.get_sample_value(f"parley_ingest_{name}", {"queue": queue}) or 0.0


async def tells(history: History, waiting: int) -> None:
    """History measures by itself too: a measurement that began earlier may end later."""

    async def is_told() -> bool:
        await IngestBacklog(history.dependencies.database).measure()
        return told("waiting") == waiting

    await eventually(is_told, what=f"{waiting} sources that wait")


async def test_sources_wait_until_a_worker_takes_them_and_again_when_it_died(history: History) -> None:
    knowledge = await Knowledge.of_new_agent(history)
    await tells(history, 0)
    assert told("oldest_seconds") == 0
    for number in range(3):
        await knowledge.text(f"Text number {number}.")
    minutes = datetime.now(UTC) - timedelta(minutes=7)
    await history.documents.sources.update_many({"waiting": True}, {"$set": {"dueAt": minutes}})
    await tells(history, 3)
    assert told("oldest_seconds") >= 420

    job = await history.client.claim_source(60.0)
    assert job is not None
    await tells(history, 2)

    # Its lease has lapsed: nobody reads it.
    await history.documents.sources.update_many({"_id": job.source_id}, {"$set": {"dueAt": datetime.now(UTC)}})
    await tells(history, 3)

    await history.client.finish_source(
        job.source_id, IngestOutcome(attempt=job.attempt, state="failed", reason="It has no text.")
    )
    await tells(history, 2)


async def test_a_great_backlog_is_counted_to_a_bound(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.history.knowledge.ingest_backlog.COUNTED", 2)
    knowledge = await Knowledge.of_new_agent(history)
    for number in range(4):
        await knowledge.text(f"Text number {number}.")
    await tells(history, 2)
    assert COUNTED == 1000
