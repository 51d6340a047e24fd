"""What a Redis must be for Parley, by its answer to INFO. A process says it at its start, `parley doctor` on demand."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# The scripts use what came with Redis 6.2 (XAUTOCLAIM, EXPIRETIME's siblings, LPOP with a count).
LEAST_VERSION: Final = "6.2"


class Unsuitable(NamedTuple):
    """`fatal`: Parley cannot work with this server. Else it works, and loses time or data that can be repaired."""

    code: str
    message: str
    fatal: bool


def unsuitable(info: Mapping[str, Any]) -> list[Unsuitable]:
    found = []
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled") == 1:
        text = "This is a Redis Cluster. Parley's scripts use keys of several slots, which a Cluster refuses."
        found.append(Unsuitable("redis_cluster", text, True))
    if info.get("role") in ("slave", "replica"):
        found.append(Unsuitable("redis_replica", "This is a replica, which takes no writes.", False))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: a full Redis forgets jobs and run logs instead of refusing new ones."
        found.append(Unsuitable("redis_evicts", text, False))
    version = str(info.get("redis_version", LEAST_VERSION))
    if _parts(version) < _parts(LEAST_VERSION):
        text = f"This is Redis {version}; Parley needs {LEAST_VERSION}."
        found.append(Unsuitable("redis_version", text, True))
    return found


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
