"""Whether a MongoDB can keep the promises of history, by its answers to `hello` and `buildInfo`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from services.history.mongo.stand_in import is_embedded

CLOCKS_DIFFER_S: Final = 30.0


def refusal(hello: Mapping[str, Any], build: Mapping[str, Any]) -> str | None:
    """Why history does not work with this server. The embedded server of `make up` is taken as it is."""
    if is_embedded(build) or hello.get("setName") or hello.get("msg") == "isdbgrid":
        return None
    return "This MongoDB is no replica set: start mongod with --replSet and run rs.initiate()."


def clock_ahead_s(hello: Mapping[str, Any], now: datetime) -> float:
    """How far the server's clock is ahead of ours, seconds. 0.0 where it does not say its time."""
    theirs = hello.get("localTime")
    if not isinstance(theirs, datetime):
        return 0.0
    # Without a codec option the driver returns naive times in UTC.
    return ((theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)) - now).total_seconds()
