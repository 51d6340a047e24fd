"""What a load needs of each part, and which part is the limit.

A part that is one thread (a gateway, a worker, a history, a Redis) is counted in cores and may be `FULL` of one. The
rest is counted in what bounds it besides: open streams of a gateway, turns of a worker, memory of a Redis, writes of a
MongoDB primary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.capacity.costs import UnitCosts

# Of a core: above this the pauses between tokens grow, and a process that fails leaves its work to the others.
FULL: Final = 0.6


@dataclass(frozen=True, kw_only=True)
class Load:
    """`streams` are open at the same time, whether or not their turn is running."""

    streams: int
    turns_per_minute: float
    tokens_per_turn: float
    tokens_per_s: float

    @property
    def turns_s(self) -> float:
        return self.turns_per_minute / 60

    @property
    def tokens_s(self) -> float:
        return self.turns_s * self.tokens_per_turn

    @property
    def running(self) -> float:
        """Turns that run at the same time."""
        return self.turns_s * self.tokens_per_turn / self.tokens_per_s

    def times(self, factor: float) -> "Load":
        return Load(
            streams=math.ceil(self.streams * factor),
            turns_per_minute=self.turns_per_minute * factor,
            tokens_per_turn=self.tokens_per_turn,
            tokens_per_s=self.tokens_per_s,
        )


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one process or server takes besides CPU: the settings' defaults, and what is assumed of the stores.

    `primary_writes_s` is not measured here: it depends on disks and on the distance between the replicas.
    """

    gateway_streams: int = 10_000
    worker_turns: int = 100
    redis_gib: float = 8.0
    log_keep_s: float = 900.0
    primary_writes_s: float = 10_000.0


@dataclass(frozen=True, kw_only=True)
class Need:
    """`units`: how much of one such part the load fills, where 1.0 is as full as it may be. `by`: what fills it most.

    `single`: there can be only one.
    """

    part: str
    units: float
    by: str
    single: bool = False

    @property
    def count(self) -> int:
        return 1 if self.single else max(1, math.ceil(self.units))


def needs(costs: UnitCosts, load: Load, bounds: Bounds) -> list[Need]:
    """Of every part, in the order of a turn's way."""
    turns, tokens = load.turns_s, load.tokens_s
    heartbeats = load.streams * costs.stream_us_s / 1e6
    log_gib = turns * (bounds.log_keep_s + load.tokens_per_turn / load.tokens_per_s) * costs.log_kib / 2**20
    return [
        _need(
            "gateways",
            CPU=(costs.gateway.cores(turns, tokens) + heartbeats) / FULL,
            streams=load.streams / bounds.gateway_streams,
        ),
        _need("queue Redis", single=True, CPU=costs.queue_redis.cores(turns, tokens) / FULL),
        _need(
            "stream Redis",
            CPU=costs.stream_redis.cores(turns, tokens) / FULL,
            memory=log_gib / bounds.redis_gib,
        ),
        _need(
            "workers", CPU=costs.worker.cores(turns, tokens) / FULL, turns=load.running / (FULL * bounds.worker_turns)
        ),
        _need("histories", CPU=costs.history.cores(turns, tokens) / FULL),
        _need("MongoDB primaries", writes=turns * costs.writes_per_turn / bounds.primary_writes_s),
    ]


def _need(part: str, *, single: bool = False, **fills: float) -> Need:
    by = max(fills, key=fills.__getitem__)
    return Need(part=part, units=fills[by], by=by, single=single)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A load, what it needs, and the part that is full first when the load grows from the step before."""

    load: Load
    needs: Sequence[Need]
    limit: Need
    full_at: float
    """The turns per minute at which that part is full, as deployed for the step before."""

    @property
    def is_possible(self) -> bool:
        return all(need.units <= 1 for need in self.needs if need.single)


def steps(costs: UnitCosts, goal: Load, bounds: Bounds, factors: Sequence[float]) -> list[Step]:
    """`factors` of the goal, rising. The first step is compared with one of each part.

    Every unit cost is a constant, so a part's fill grows in proportion to the load.
    """
    told = list[Step]()
    deployed = {need.part: 1 for need in needs(costs, goal, bounds)}
    for factor in factors:
        load = goal.times(factor)
        found = needs(costs, load, bounds)
        limit = max(found, key=lambda need: need.units / deployed[need.part])
        full_at = load.turns_per_minute * deployed[limit.part] / limit.units
        told.append(Step(load=load, needs=found, limit=limit, full_at=full_at))
        deployed = {need.part: need.count for need in found}
    return told
