"""What the doctor makes of the facts that it has read: each fault has its finding, and a good deployment has none."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.doctor import clocks, configuration, disks, gateway, mongodb_server, redis_server
from deploy.doctor.finding import Finding
from deploy.doctor.gateway import Tick
from deploy.doctor.mongodb_server import Facts
from services.history.mongo.indexes import INDEXES, index_model

REPLICA_SET = {"setName": "rs", "hosts": ["a", "b", "c"]}
MONGODB_8 = {"version": "8.0.4", "versionArray": [8, 0, 4, 0]}
ALL_INDEXES = {name: {index_model(index).document["name"] for index in of} for name, of in INDEXES.items()}
GOOD_REDIS = {"redis_mode": "standalone", "role": "master", "maxmemory_policy": "noeviction", "redis_version": "7.2.4"}
GOOD = {
    "PARLEY_INTERNAL_TOKEN": "a-token-of-many-letters",
    "PARLEY_SECRETS_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "PARLEY_PUBLIC_URL": "https://agents.example.org",
}


def codes(found: list[Finding]) -> list[str]:
    assert all(each.mend and each.message for each in found)
    return [each.code for each in found]


def mongodb(**facts: Any) -> Facts:
    return Facts(**{"hello": REPLICA_SET, "build": MONGODB_8, "indexes": ALL_INDEXES, **facts})


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"hello": {}}, "mongodb_no_replica_set"),
        ({"hello": {"setName": "rs", "hosts": ["a", "b"], "arbiters": ["c"]}}, "mongodb_arbiter"),
        ({"build": {"version": "4.4.1", "versionArray": [4, 4, 1, 0]}}, "mongodb_version"),
        ({"build": {"secantusVersion": "0.7"}}, "stand_in"),
        ({"majority_fault": "WriteConcernFailed"}, "mongodb_no_majority"),
        ({"indexes": {**ALL_INDEXES, "turns": {"_id_"}}}, "indexes_missing"),
        ({"statistics": {"fsUsedSize": 90.0, "fsTotalSize": 100.0}}, "disk_full"),
        ({"clock_ahead_s": -3600.0}, "clock_skew"),
    ],
)
def test_each_fault_of_mongodb_has_its_finding(facts: dict[str, Any], code: str) -> None:
    assert codes(mongodb_server.judged("mongodb://db", mongodb(**facts), is_local=False)) == [code]


def test_a_replica_set_and_a_sharded_cluster_have_no_finding() -> None:
    for hello in (REPLICA_SET, {"msg": "isdbgrid"}):
        assert mongodb_server.judged("mongodb://db", mongodb(hello=hello), is_local=False) == []
    assert mongodb_server.judged("mongodb://db", mongodb(build={"secantusVersion": "1"}), is_local=True) == []


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({"redis_mode": "cluster"}, "redis_cluster"),
        ({"role": "slave"}, "redis_replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "redis_evicts"),
        ({"redis_version": "5.0.7"}, "redis_version"),
    ],
)
def test_each_fault_of_redis_has_its_finding(info: dict[str, Any], code: str) -> None:
    assert codes(redis_server.judged("redis://cache", {**GOOD_REDIS, **info})) == [code]


def test_a_plain_redis_that_refuses_when_it_is_full_has_no_finding() -> None:
    assert redis_server.judged("redis://cache", GOOD_REDIS) == []
    assert redis_server.queue_judged(3, 0.2, workers=1) == []


def test_a_queue_without_workers_and_an_old_one_are_told() -> None:
    assert codes(redis_server.queue_judged(3, 9.0, workers=0)) == ["no_workers"]
    assert codes(redis_server.queue_judged(3, 90.0, workers=2)) == ["queue_old"]


def test_small_differences_of_clocks_are_no_finding_and_an_hour_is_an_error() -> None:
    assert clocks.judged("history", 1.0) == []
    assert [each.severity for each in (*clocks.judged("h", 5.0), *clocks.judged("h", -3600.0))] == ["warning", "error"]


@pytest.mark.parametrize(("used", "severities"), [(50.0, []), (88.0, ["warning"]), (97.0, ["error"])])
def test_a_disk_is_told_before_it_is_full(used: float, severities: list[str]) -> None:
    assert [each.severity for each in disks.judged("/data", used, 100.0)] == severities
    assert disks.judged("/data", None, None) == []


def ticks(*arrivals: float) -> list[Tick]:
    return [Tick(0.3 * number, arrived) for number, arrived in enumerate(arrivals)]


def test_a_stream_that_arrives_at_once_was_held_back() -> None:
    even = ticks(9.0, 9.3, 9.6, 9.9)
    assert gateway.stream_judged("https://a", even) == []
    assert codes(gateway.stream_judged("https://a", even, "gzip")) == ["proxy_compresses"]
    assert codes(gateway.stream_judged("https://a", ticks(9.9, 9.9, 9.9, 9.91))) == ["proxy_buffers"]
    assert codes(gateway.stream_judged("https://a", even[:1])) == ["stream_broken"]


def test_a_certificate_is_told_two_weeks_before_its_end() -> None:
    now = datetime(2026, 11, 27, tzinfo=UTC)
    assert gateway.certificate_judged("https://a", {"notAfter": "Jan 30 00:00:00 2027 GMT"}, now) == []
    found = gateway.certificate_judged("https://a", {"notAfter": "Dec  2 00:00:00 2026 GMT"}, now)
    assert codes(found) == ["certificate_expires"]
    assert "5 days" in found[0].message


def judged(**changes: str) -> list[Finding]:
    read, faults = configuration.read({**GOOD, **changes})
    return configuration.judged(read) if read is not None else faults


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, []),
        ({"PARLEY_INTERNAL_TOKEN": ""}, ["configuration"]),
        ({"PARLEY_LEESE_S": "4"}, ["configuration"]),
        ({"PARLEY_SECRETS_KEYS": ""}, ["secrets_keys_missing"]),
        ({"PARLEY_PUBLIC_URL": "http://agents.example.org"}, ["no_tls"]),
        ({"PARLEY_PUBLIC_URL": "http://127.0.0.1:8080"}, []),
        ({"PARLEY_QUEUE_REDIS_URL": "redis://:secret@8.8.8.8:6379"}, ["no_tls"]),
        ({"PARLEY_MONGODB_URI": "mongodb://u:secret@8.8.8.8,10.0.0.2/?replicaSet=rs"}, ["no_tls"]),
        ({"PARLEY_MONGODB_URI": "mongodb://u:secret@8.8.8.8/?tls=true"}, []),
    ],
)
def test_the_environment_is_judged_and_no_secret_is_shown(changes: dict[str, str], wanted: list[str]) -> None:
    found = judged(**changes)
    assert codes(found) == wanted
    assert "secret@" not in repr(found)
