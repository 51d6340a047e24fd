"""MongoDB: what kind of server it is, whether a majority of it takes writes, its clock, its indexes and its disk."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deploy.doctor import clocks, disks
from deploy.doctor.addresses import shown
from deploy.doctor.finding import Finding, error, warning
from services.history.mongo.indexes import INDEXES, index_model
from services.history.mongo.stand_in import is_embedded
from services.history.mongo.suitability import LEAST_VERSION

_STATE_MS: Final = 2000
Document = dict[str, Any]


@dataclass(kw_only=True)
class Facts:
    """What the server says of itself. `indexes`: names by collection; a collection that is missing has none."""

    hello: Document
    build: Document
    majority_fault: str | None = None
    indexes: dict[str, set[str]] = field(default_factory=dict)
    statistics: Document = field(default_factory=dict)
    clock_ahead_s: float = 0.0


def examined(uri: str, database: str, *, is_local: bool) -> list[Finding]:
    """Blocks for some seconds. `is_local`: the stand-in of `make up` is expected."""
    subject = shown(uri)
    try:
        client: MongoClient[Document] = MongoClient(uri, serverSelectionTimeoutMS=3000, timeoutMS=8000)
    except PyMongoError as fault:
        return [_unreachable(subject, fault)]
    try:
        return judged(subject, _facts(client, database), is_local=is_local)
    except PyMongoError as fault:
        return [_unreachable(subject, fault)]
    finally:
        client.close()


def _facts(client: "MongoClient[Document]", name: str) -> Facts:
    database = client.get_database(name)
    client.admin.command("ping")  # Connecting takes time, which must not count as a difference of clocks.
    asked_at = time.time()
    hello = client.admin.command("hello")
    facts = Facts(hello=hello, build=client.admin.command("buildInfo"))
    if "localTime" in hello:
        facts.clock_ahead_s = hello["localTime"].replace(tzinfo=UTC).timestamp() - asked_at
    facts.majority_fault = _majority_fault(client, name)
    for collection in INDEXES:
        try:
            facts.indexes[collection] = set(database.get_collection(collection).index_information())
        except OperationFailure:
            facts.indexes[collection] = set()
    with suppress(OperationFailure):  # If the user may not ask, only the disk's fill is unknown.
        facts.statistics = database.command("dbStats")
    return facts


def _majority_fault(client: "MongoClient[Document]", name: str) -> str | None:
    """Waits until a majority has confirmed everything so far, by an update that matches no document."""
    order = {
        "update": "sessions",
        "updates": [{"q": {"_id": "doctor"}, "u": {"$set": {"doctor": True}}}],
        "writeConcern": {"w": "majority", "j": True, "wtimeout": _STATE_MS},
    }
    try:
        answer = client.get_database(name).command(order)
    except PyMongoError as fault:
        return type(fault).__name__
    refused = answer.get("writeConcernError")
    return str(refused.get("codeName", "WriteConcernFailed")) if refused else None


def judged(subject: str, facts: Facts, *, is_local: bool) -> list[Finding]:
    found = clocks.judged(subject, facts.clock_ahead_s)
    if is_embedded(facts.build):
        found += [] if is_local else [_stand_in(subject)]
    else:
        found += _kind(subject, facts)
    found += _majority(subject, facts)
    found += _indexes(subject, facts.indexes)
    return found + disks.judged(subject, facts.statistics.get("fsUsedSize"), facts.statistics.get("fsTotalSize"))


def _stand_in(subject: str) -> Finding:
    message = "This is the embedded stand-in of `make up`, which has one copy of the data and is made for trials."
    return error("stand_in", subject, message, "Point PARLEY_MONGODB_URI at a MongoDB replica set of three members.")


def _kind(subject: str, facts: Facts) -> list[Finding]:
    found = []
    hello = facts.hello
    is_replica_set = bool(hello.get("setName")) or hello.get("msg") == "isdbgrid"
    if not is_replica_set:
        message = "This is a single MongoDB without a replica set: history's writes are refused, and there is one copy."
        mend = "Start mongod with --replSet and run rs.initiate(), with three members in production."
        found.append(error("mongodb_no_replica_set", subject, message, mend))
    members = len(hello.get("hosts", ()))
    if hello.get("arbiters") and members < 3:
        message = f"{members} members and an arbiter: when one member is away, no majority can store a turn."
        found.append(warning("mongodb_arbiter", subject, message, "Replace the arbiter by a member with data."))
    version = tuple(facts.build.get("versionArray", LEAST_VERSION))
    if version[:2] < LEAST_VERSION:
        text = f"This is MongoDB {facts.build.get('version')}, which Parley does not support."
        found.append(error("mongodb_version", subject, text, "Update to MongoDB 7 or 8."))
    return found


def _majority(subject: str, facts: Facts) -> list[Finding]:
    if facts.majority_fault is None:
        return []
    message = (
        f"No majority confirms a write within {_STATE_MS // 1000} s ({facts.majority_fault}): no turn is accepted."
    )
    mend = "Bring the members that are away back (rs.status() names them), or remove those that are gone for good."
    return [error("mongodb_no_majority", subject, message, mend)]


def _indexes(subject: str, present: Mapping[str, set[str]]) -> list[Finding]:
    wanted = {name: {str(index_model(index).document["name"]) for index in of} for name, of in INDEXES.items()}
    missing = [f"{name}.{each}" for name, of in wanted.items() for each in sorted(of - present.get(name, set()))]
    if not missing:
        return []
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    message = f"Indexes are missing: {', '.join(missing[:3])}{more}. History takes no work before they exist."
    mend = "Start history, or restart it: it makes them. If it cannot, its log says `mongodb_not_prepared` and why."
    return [error("indexes_missing", subject, message, mend)]


def _unreachable(subject: str, fault: Exception) -> Finding:
    message = f"It does not answer ({type(fault).__name__}), so no turn is accepted."
    mend = "Check that MongoDB runs and has a primary, the URI, the password and the firewall: `mongosh URI` from here."
    return error("mongodb_unreachable", subject, message, mend)
