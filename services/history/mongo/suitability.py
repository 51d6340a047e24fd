"""Whether a MongoDB can keep the promises of history, by its answers to `hello` and `buildInfo`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pymongo.common import MIN_SUPPORTED_WIRE_VERSION
from pymongo.topology_description import TopologyDescription

from services.history.mongo.stand_in import is_embedded

CLOCKS_DIFFER_S: Final = 30.0
# The oldest release line for which the tests of the doctor and of history have an opinion; 7 and 8 are meant.
LEAST_VERSION: Final = (5, 0)
_TOO_OLD: Final = (
    "This MongoDB{release} is too old for history: update it to MongoDB 7 or 8, one major release at a time."
)


def refusal(hello: Mapping[str, Any], build: Mapping[str, Any]) -> str | None:
    """Why history does not work with this server. The embedded server of `make up` is taken as it is."""
    if is_embedded(build):
        return None
    if tuple(build.get("versionArray", LEAST_VERSION))[:2] < LEAST_VERSION:
        return _TOO_OLD.format(release=f" ({build.get('version')})")
    if hello.get("setName") or hello.get("msg") == "isdbgrid":
        return None
    return "This MongoDB is no replica set: start mongod with --replSet and run rs.initiate()."


def unsupported(topology: TopologyDescription) -> str | None:
    """Why the driver does not speak to a server, if that is the server's age."""
    servers = topology.server_descriptions().values()
    is_old = any(0 < server.max_wire_version < MIN_SUPPORTED_WIRE_VERSION for server in servers)
    return _TOO_OLD.format(release="") if is_old else None


def clock_ahead_s(hello: Mapping[str, Any], now: datetime) -> float:
    """How far the server's clock is ahead of ours, seconds. 0.0 where it does not say its time."""
    theirs = hello.get("localTime")
    if not isinstance(theirs, datetime):
        return 0.0
    # Without a codec option the driver returns naive times in UTC.
    return ((theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)) - now).total_seconds()
