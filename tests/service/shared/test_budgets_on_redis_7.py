"""The counters on a real Redis: its Lua makes other texts of numbers than Valkey's does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from deploy.local.stores import start_redis
from shared.budgets.counters import Counter
from shared.budgets.periods import Period
from shared.budgets.store import BudgetStore, Estimate, Limit, Sums
from shared.contracts.budgets import Subject
from shared.turn_queue.queue import TurnQueue
from tests.programs import required_program

COUNTER = Counter("ws", Subject("workspace", ""), "budget", Period.named("2126-11"))
LIMIT = Limit(COUNTER, 1000, None, 1)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[TurnQueue]:
    server = start_redis(tmp_path / "redis", program=required_program("redis-server", "redis-server"))
    queue = TurnQueue.connect(server.url)
    try:
        yield queue
    finally:
        await queue.aclose()
        server.stop()


async def test_a_turn_without_costs_is_charged_and_its_reservation_ends(queue: TurnQueue) -> None:
    store = BudgetStore(queue)
    assert await store.fill(LIMIT, "", Sums(0, 0, 0))
    ordered = await store.order("trn_1", Estimate(500, 0), [LIMIT], "hold")
    assert not ordered.unknown
    await store.charge("trn_1", Estimate(40, 0), [COUNTER])
    fields = await cast("Any", queue.hgetall(COUNTER.key))
    assert {name: fields[name] for name in (b"tokens", b"heldTokens", b"heldCost", b"known")} == {
        b"tokens": b"40",
        b"heldTokens": b"0",
        b"heldCost": b"0",
        b"known": b"1",
    }
    assert b"h:trn_1" not in fields
