"""What is counted while MongoDB is away: the alert of store errors rests on it."""

import pytest
from prometheus_client import REGISTRY

from deploy.local.processes import free_port
from services.history.mongo.client import Database
from shared.contracts.errors import ApiError


def counted() -> float:
    return REGISTRY.get_sample_value("parley_store_errors_total", {"store": "mongodb"}) or 0.0


async def test_calls_that_are_refused_unasked_while_mongodb_is_away_count_as_store_errors() -> None:
    async with Database(f"mongodb://127.0.0.1:{free_port()}/?directConnection=true", "parley") as database:
        before = counted()
        for _ in range(3):
            with pytest.raises(ApiError, match="does not answer"):
                await database.sessions.one({"_id": "ses_none"})
        assert counted() >= before + 3
