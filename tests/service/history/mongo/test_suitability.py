"""A MongoDB with which history cannot keep its promises is refused in one line, and nothing is written to it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from deploy.doctor import mongodb_server
from services.history.mongo import client
from services.history.mongo.client import Database
from services.history.mongo.suitability import refusal
from shared.contracts.errors import ApiError
from shared.log import get_logger
from tests.conftest import eventually
from tests.service.history.mongo.plain_server import plain_server
from tests.service.history.running import driver_of_tests

SINGLE = {"buildInfo": {"version": "8.0.4", "versionArray": [8, 0, 4, 0]}}
NO_MAJORITY = {
    **SINGLE,
    "hello": {"setName": "rs", "hosts": ["127.0.0.1:1"]},
    "update": {"n": 0, "writeConcernError": {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting"}},
}


async def test_a_mongodb_without_a_replica_set_is_refused_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_PREPARATION_S", 0.01)
    looks = counted(monkeypatch)
    with capture_logs() as lines:
        monkeypatch.setattr(client, "log", get_logger())
        async with plain_server(SINGLE) as uri, Database(uri, "parley", driver=driver_of_tests()) as database:
            await eventually(lambda: looks() >= 3, what="three looks")
            with pytest.raises(ApiError, match="does not answer"):
                await database.ping()
    refused = [line for line in lines if line["event"] == "mongodb_refused"]
    assert [line["reason"] for line in refused] == [
        "This MongoDB is no replica set: start mongod with --replSet and run rs.initiate()."
    ]


@pytest.mark.parametrize(
    "answers",
    [
        {"buildInfo": {"version": "4.4.29", "versionArray": [4, 4, 29, 0]}, "hello": {"setName": "rs"}},
        {"hello": {"setName": "rs", "maxWireVersion": 6}},
    ],
)
async def test_a_mongodb_that_is_too_old_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, dict[str, Any]]
) -> None:
    """History does not know it any more, or the driver does not."""
    with capture_logs() as lines:
        monkeypatch.setattr(client, "log", get_logger())
        async with plain_server(answers) as uri, Database(uri, "parley", driver=driver_of_tests()):
            await eventually(lambda: "mongodb_refused" in [line["event"] for line in lines], what="the refusal")
    (said,) = [line["reason"] for line in lines if line["event"] == "mongodb_refused"]
    assert "too old for history: update it to MongoDB 7 or 8" in said


async def test_clocks_an_hour_apart_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = counted(monkeypatch)
    with capture_logs() as lines:
        monkeypatch.setattr(client, "log", get_logger())
        async with (
            plain_server(SINGLE, clock_ahead_s=-3600.0) as uri,
            Database(uri, "parley", driver=driver_of_tests()),
        ):
            await eventually(lambda: looks() >= 1, what="a look")
    said = [line["ahead_s"] for line in lines if line["event"] == "clocks_differ"]
    assert said
    assert -3610 < said[0] < -3590


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a server was judged."""
    judged = list[Any]()

    def judging(hello: Any, build: Any) -> str | None:
        judged.append(hello)
        return refusal(hello, build)

    monkeypatch.setattr(client, "refusal", judging)
    return lambda: len(judged)


@pytest.mark.parametrize(
    ("answers", "ahead_s", "codes"),
    [
        (SINGLE, 0.0, {"mongodb_no_replica_set", "indexes_missing"}),
        (NO_MAJORITY, 0.0, {"mongodb_no_majority", "indexes_missing"}),
        (NO_MAJORITY, 3600.0, {"mongodb_no_majority", "indexes_missing", "clock_skew"}),
    ],
)
async def test_the_doctor_reads_the_same_from_the_wire(
    answers: dict[str, dict[str, Any]], ahead_s: float, codes: set[str]
) -> None:
    empty = {"cursor": {"id": 0, "ns": "parley.x", "firstBatch": []}}
    async with plain_server({**answers, "listIndexes": empty}, clock_ahead_s=ahead_s) as uri:
        found = await asyncio.to_thread(mongodb_server.examined, uri, "parley", is_local=False)
    assert {each.code for each in found} == codes
