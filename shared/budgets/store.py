"""The budgets' counters in the queue's Redis. Each method is one round trip, and may be repeated."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import orjson

from shared.broker.script import Script
from shared.budgets.counters import LINES, Counter
from shared.budgets.reservation import COUNTERS
from shared.turn_queue.queue import TurnQueue

_FOLDER: Final = Path(__file__).with_name("lua")
_ORDER: Final = Script.read(COUNTERS, _FOLDER / "order.lua")
_FILL: Final = Script.read(COUNTERS, _FOLDER / "fill.lua")
_LIMIT: Final = Script.of(
    COUNTERS.read_text(encoding="utf-8")
    + """
if redis.call('EXISTS', ARGV[1]) == 1 then set_limits(unpack(ARGV)) end
return 1
"""
)
_CHARGE: Final = Script.read(COUNTERS, _FOLDER / "charge.lua")
SCAN: Final = 500
Mode = Literal["ask", "note", "hold"]


class Limit(NamedTuple):
    """What a counter may reach. `revision` grows with each change of the budget; costs are billionths."""

    counter: Counter
    tokens: int | None
    cost: int | None
    revision: int

    def arguments(self) -> tuple[str | int, ...]:
        # Numbers of MongoDB are of a type of its own, which the Redis client refuses.
        return (
            int(self.revision),
            "" if self.tokens is None else int(self.tokens),
            "" if self.cost is None else int(self.cost),
            self.counter.expires_at,
        )


class Estimate(NamedTuple):
    """What a turn will probably use."""

    tokens: int
    cost: int


class Sums(NamedTuple):
    """What ended turns have used. `recent` are those of them that may still hold a reservation."""

    tokens: int
    cost: int
    turns: int
    recent: Sequence[str] = ()


class Ordered(NamedTuple):
    """`refused_by` is the name of a counter. `unknown`: limits whose counters must be rebuilt."""

    refused_by: str | None
    unknown: list[Limit]


class BudgetStore:
    """Raises RedisError or OSError while the queue's Redis is away."""

    def __init__(self, queue: TurnQueue) -> None:
        self._queue = queue

    async def order(self, turn_id: str, estimate: Estimate, limits: Sequence[Limit], mode: Mode = "ask") -> Ordered:
        """Notes the turn for its claim. `ask`: unless a counter is used up. `hold`: it runs, so it is reserved."""
        line = {**estimate._asdict(), "counters": [limit.counter.key for limit in limits]}
        each = [value for limit in limits for value in (limit.counter.key, *limit.arguments())]
        refused, states = await self._run(_ORDER, turn_id, orjson.dumps(line), mode, *each)
        unknown = [limit for limit, is_known in zip(limits, states, strict=True) if not is_known]
        return Ordered(refused.decode() if refused else None, unknown)

    async def limit(self, limit: Limit) -> None:
        """Changes what a counter may reach, if it exists."""
        await self._run(_LIMIT, limit.counter.key, *limit.arguments())

    async def version(self, counter: Counter) -> str:
        found = await cast("Any", self._queue.hget(counter.key, "version"))
        return found.decode() if found else ""

    async def fill(self, limit: Limit, version: str, sums: Sums) -> bool:
        """False: a turn was charged since `version` was read, so the sums may lack it."""
        totals = (int(sums.tokens), int(sums.cost), int(sums.turns))
        return bool(await self._run(_FILL, limit.counter.key, version, *totals, *limit.arguments(), *sums.recent))

    async def charge(self, turn_id: str, used: Estimate | None, counters: Iterable[Counter]) -> None:
        """The turn's end. `used` None: it may have been counted already, so its counters are rebuilt."""
        tokens, cost = used or (0, 0)
        mode = "doubt" if used is None else "end"
        await self._run(_CHARGE, turn_id, mode, tokens, cost, *(counter.key for counter in counters))

    async def noted(self, turn_ids: Sequence[str]) -> set[str]:
        """Those of the turns that are noted."""
        found = await cast("Any", self._queue.hmget(LINES, list(turn_ids))) if turn_ids else []
        return {turn_id for turn_id, line in zip(turn_ids, found, strict=True) if line}

    async def page(self, cursor: int) -> tuple[int, list[str]]:
        """Some of the noted turns, and where to go on: 0 at the end."""
        following, found = await cast("Any", self._queue.hscan(LINES, cursor, count=SCAN))
        return int(following), [turn_id.decode() for turn_id in found]

    async def _run(self, script: Script, *arguments: Any) -> Any:
        return await script.run(self._queue.connections.call, (), arguments)
