"""Pure: which fault comes when. The same seed gives the same schedule."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# What a fault can be; the kind says to what it is done. `down`: killed, and started again only after so long.
KINDS: Final = (
    "kill worker",
    "kill gateway",
    "kill history",
    "kill redis",
    "kill mongodb",
    "stop worker",
    "stop gateway",
    "stop history",
    "stop redis",
    "stop mongodb",
    "term worker",
    "term gateway",
    "term history",
    "roll services",
    "cut pubsub",
    "cut normal",
    "flush redis",
    "sleep redis",
    "fail mongodb before",
    "fail mongodb after",
    "link cut",
    "link delay",
    "link black-hole",
    "link mute",
    "fail-over redis",
    "down redis 1 s",
    "down redis 5 s",
    "down redis 60 s",
    "down mongodb 1 s",
    "down mongodb 5 s",
    "down mongodb 60 s",
    "kill ingest",
    "stop ingest",
    "term ingest",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """`choice` picks among the possible targets, `strength` (0 to 1) how long it lasts."""

    at_s: float
    kind: str
    choice: int
    strength: float


def schedule(counts: Mapping[str, int], *, seed: int, seconds: float) -> list[Fault]:
    """Every kind's faults are spread over the whole time, each at a random place of its slot.

    Raises ValueError for an unknown kind.
    """
    if unknown := sorted(set(counts) - set(KINDS)):
        raise ValueError(f"there is no fault {', '.join(unknown)}")
    chosen = random.Random(seed)
    faults = []
    for kind in KINDS:
        count = counts.get(kind, 0)
        for number in range(count):
            at_s = seconds * (number + chosen.random()) / count
            faults.append(Fault(at_s=at_s, kind=kind, choice=chosen.randrange(2**16), strength=chosen.random()))
    return sorted(faults, key=lambda fault: fault.at_s)
