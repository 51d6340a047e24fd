"""A MongoDB that lets no majority confirm: new work is refused at once and in one line, until a majority is back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.history.mongo import client, majority
from services.history.mongo.client import Database
from services.history.mongo.majority import REASON
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from tests.conftest import eventually
from tests.service.history.mongo.plain_server import plain_server
from tests.service.history.mongo.recorder import Recorder
from tests.service.history.running import driver_of_tests

EMPTY = {"cursor": {"id": 0, "ns": "parley.x", "firstBatch": []}}
# By the time limit of the write concern, and by that of the operation.
UNCONFIRMED = [
    {"n": 1, "writeConcernError": {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting"}},
    {"n": 1, "writeConcernError": {"code": 50, "codeName": "MaxTimeMSExpired", "errmsg": "operation timed out"}},
]
WRITES = ("insert", "update", "delete")


def server() -> dict[str, Any]:
    """A replica set in which everything works."""
    build = {"version": "8.0.4", "versionArray": [8, 0, 4, 0]}
    return {"buildInfo": build, "hello": {"setName": "rs"}, "listIndexes": EMPTY, "find": EMPTY}


@asynccontextmanager
async def opened(answers: dict[str, Any], recorder: Recorder) -> AsyncIterator[Database]:
    async with (
        plain_server(answers) as uri,
        Database(uri, "parley", driver=driver_of_tests(), listeners=[recorder]) as database,
    ):
        yield database


async def is_ready(database: Database) -> bool:
    try:
        await database.ping()
    except ApiError:
        return False
    return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_PREPARATION_S", 0.01)
    monkeypatch.setattr(majority, "LOOK_AGAIN_S", 0.01)
    for module in (client, majority):
        monkeypatch.setattr(module, "log", get_logger())


@pytest.mark.parametrize("unconfirmed", UNCONFIRMED)
async def test_writes_are_refused_at_once_until_a_majority_is_back(unconfirmed: dict[str, Any]) -> None:
    answers, recorder = server(), Recorder()
    with capture_logs() as lines:
        async with opened(answers, recorder) as database:
            await eventually(lambda: is_ready(database), what="a ready database")
            answers |= dict.fromkeys(WRITES, unconfirmed)
            for _ in range(2):
                with pytest.raises(ApiError) as refused:
                    await database.sessions.insert({"_id": "ses_1"})
                assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
            assert len(recorder.of("sessions", "insert")) == 1, "the second is not sent"
            assert not await is_ready(database)
            assert await database.sessions.many({"workspace": "acme"}, limit=5) == []
            for name in WRITES:
                del answers[name]
            await eventually(lambda: is_ready(database), what="a majority")
            answers["insert"] = {"n": 1}
            await database.sessions.insert({"_id": "ses_1"})
    assert [line["reason"] for line in lines if line["event"] == "mongodb_no_majority"] == [REASON]
    assert len([line for line in lines if line["event"] == "mongodb_majority_back"]) == 1


async def test_repeated_documents_without_a_majority_are_not_taken_for_stored() -> None:
    answers, recorder = server(), Recorder()
    repeated = [{"index": 0, "code": 11000, "errmsg": "E11000 duplicate key"}]
    async with opened(answers, recorder) as database:
        await eventually(lambda: is_ready(database), what="a ready database")
        answers["insert"] = {**UNCONFIRMED[0], "writeErrors": repeated}
        with pytest.raises(ApiError):
            await database.sessions.insert_all([{"_id": "ses_1"}, {"_id": "ses_2"}])
        assert not await is_ready(database)
        answers["insert"] = {"n": 1, "writeErrors": repeated}
        await eventually(lambda: is_ready(database), what="a majority")
        await database.sessions.insert_all([{"_id": "ses_1"}, {"_id": "ses_2"}])


async def test_a_mongodb_without_a_majority_is_refused_at_the_start_and_taken_when_it_is_back() -> None:
    answers, recorder = {**server(), "update": UNCONFIRMED[0]}, Recorder()
    with capture_logs() as lines:
        async with opened(answers, recorder) as database:
            await eventually(lambda: len(recorder.of("backfills", "update")) >= 3, what="three looks")
            assert not await is_ready(database)
            assert not [name for name, _ in recorder.commands if name == "createIndexes"], "it would wait for ever"
            del answers["update"]
            await eventually(lambda: is_ready(database), what="a ready database")
    assert [line["reason"] for line in lines if line["event"] == "mongodb_refused"] == [REASON]
