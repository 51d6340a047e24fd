"""How many deliveries are tried at once, with receivers that never answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.history.webhooks import dispatcher
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.dispatcher import (
    CANDIDATES,
    ENDPOINTS_OF_WORKSPACE,
    LANES,
    LANES_OF_ENDPOINT,
    LOOKS,
    SINGLE_LOOKS,
    Dispatcher,
)
from services.history.webhooks.endpoint_health import EndpointHealth
from services.history.webhooks.sender import Sender
from services.history.webhooks.subscriptions import Endpoint, Subscriptions

Lane = tuple[str, str, str]


class Queue:
    """Deliveries that are due; each is a lane of its own. `looks` at more than one endpoint are counted."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.tests: list[Lane] = []
        self.looks = 0
        self.single: list[str] = []
        self.took_s = 0.0

    def add(self, workspace: str, endpoint: str, count: int) -> None:
        self.lanes += [(workspace, endpoint, f"ses_{len(self.lanes) + number}") for number in range(count)]

    async def due(self, limit: int, after: str, but: Sequence[str], but_of: Sequence[str]) -> list[dict[str, Any]]:
        self.looks += 1
        await asyncio.sleep(self.took_s)
        found = sorted(lane for lane in self.lanes if lane[1] > after and lane[1] not in but and lane[0] not in but_of)
        return rows(sorted(found, key=lambda lane: lane[1])[:limit])

    async def due_of(self, endpoint: str, limit: int) -> list[dict[str, Any]]:
        self.single.append(endpoint)
        return rows([lane for lane in self.lanes if lane[1] == endpoint][:limit])

    async def tests_due(self, limit: int) -> list[dict[str, Any]]:
        return rows(self.tests[:limit])


def rows(lanes: Sequence[Lane]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [
        {"workspace": workspace, "endpoint": endpoint, "lane": lane, "createdAt": now, "dueAt": now}
        for workspace, endpoint, lane in lanes
    ]


class Receivers:
    """What is being sent. It ends when a test says so."""

    def __init__(self, queue: Queue) -> None:
        self.open: list[Lane] = []
        self.answered: asyncio.Event = asyncio.Event()
        self._queue = queue

    async def lane(self, workspace: str, endpoint_id: str, lane: str) -> None:
        self.open.append((workspace, endpoint_id, lane))
        await self.answered.wait()
        if (workspace, endpoint_id, lane) in self._queue.lanes:
            self._queue.lanes.remove((workspace, endpoint_id, lane))


class Known:
    """Endpoints that fail, all of one workspace, and others that do not."""

    def __init__(self) -> None:
        self.ill: set[str] = set()
        self.well: list[str] = []

    def endpoint(self, workspace: str, endpoint_id: str) -> Endpoint | None:
        since = datetime.now(UTC) if endpoint_id in self.ill else None
        return Endpoint(endpoint_id, workspace, "https://shop.example", frozenset(), (), since)

    def failing(self) -> list[Endpoint | None]:
        return [self.endpoint("acme", endpoint_id) for endpoint_id in sorted(self.ill)]

    def healthy(self) -> list[Endpoint | None]:
        return [self.endpoint("other", endpoint_id) for endpoint_id in self.well]


class Health:
    """An endpoint that fails rests from its first try on."""

    def __init__(self) -> None:
        self.rested: list[str] = []

    async def begins_try(self, endpoint: Endpoint) -> bool:
        if endpoint.id in self.rested:
            return False
        self.rested.append(endpoint.id)
        return True


class Scene:
    def __init__(self) -> None:
        self.queue, self.known, self.health = Queue(), Known(), Health()
        self.receivers = Receivers(self.queue)
        self.dispatcher = Dispatcher(
            cast("Subscriptions", self.known),
            cast("Deliveries", self.queue),
            cast("Sender", self.receivers),
            cast("EndpointHealth", self.health),
        )

    async def round(self) -> None:
        """Until nothing more can begin."""
        await self.dispatcher.round()
        for _ in range(10):
            await asyncio.sleep(0)

    def open_by(self, place: int) -> Counter[str]:
        return Counter(lane[place] for lane in self.receivers.open)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.dispatcher.end()


async def test_an_endpoint_has_a_few_attempts_at_once_and_its_backlog_hides_nobody(scene: Scene) -> None:
    """More is due for the slow endpoint than one look at the queue shows."""
    scene.queue.add("acme", "whk_slow", 2_000)
    scene.queue.add("other", "whk_good", 1)
    await scene.round()
    await scene.round()
    assert scene.open_by(1) == {"whk_slow": LANES_OF_ENDPOINT, "whk_good": 1}


async def test_a_workspace_has_a_few_endpoints_served_at_once_and_the_others_have_their_own(scene: Scene) -> None:
    for number in range(20):
        scene.queue.add("acme", f"whk_{number}", 20)
    scene.queue.add("other", "whk_other", 1)
    for _ in range(3):
        await scene.round()
    assert scene.open_by(0) == {"acme": ENDPOINTS_OF_WORKSPACE * LANES_OF_ENDPOINT, "other": 1}


async def test_all_together_are_bounded_and_the_rest_follows(scene: Scene) -> None:
    for number in range(40):
        scene.queue.add(f"workspace_{number}", f"whk_{number}", 4)
    await scene.round()
    assert len(scene.receivers.open) == LANES
    scene.receivers.answered.set()
    for _ in range(40):
        await scene.round()
    assert scene.queue.lanes == []
    assert len(set(scene.receivers.open)) == 160


async def test_an_endpoint_that_fails_has_one_attempt_and_then_rests(scene: Scene) -> None:
    scene.known.ill.add("whk_bad")
    scene.queue.add("acme", "whk_bad", 10)
    scene.receivers.answered.set()
    for _ in range(5):
        await scene.round()
    assert len(scene.receivers.open) == 1
    scene.health.rested.clear()
    for _ in range(5):
        await scene.round()
    assert len(scene.receivers.open) == 2


async def test_a_test_of_an_endpoint_that_rests_is_sent_at_once(scene: Scene) -> None:
    scene.known.ill.add("whk_bad")
    scene.queue.add("acme", "whk_bad", 10)
    scene.health.rested.append("whk_bad")
    scene.queue.tests = [("acme", "whk_bad", "evt_test"), ("acme", "whk_well", "evt_other")]
    await scene.round()
    assert scene.receivers.open == [("acme", "whk_bad", "evt_test")]


async def test_an_endpoint_that_begins_to_fail_gives_its_places_up(scene: Scene) -> None:
    scene.queue.add("acme", "whk_bad", 50)
    await scene.round()
    scene.known.ill.add("whk_bad")
    scene.receivers.answered.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(scene.receivers.open) == LANES_OF_ENDPOINT


async def test_many_endpoints_with_long_backlogs_begin_in_one_round(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fills a look at the queue."""
    monkeypatch.setattr(dispatcher, "SLOW_S", 60.0)
    for number in range(5):
        scene.queue.add(f"workspace_{number}", f"whk_{number}", CANDIDATES + 1)
    await scene.round()
    assert set(scene.open_by(1)) == {f"whk_{number}" for number in range(5)}


async def test_what_a_round_looks_at_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "SLOW_S", 60.0)
    for number in range(LOOKS + 5):
        scene.queue.add(f"workspace_{number}", f"whk_{number:02}", CANDIDATES)
    await scene.round()
    assert scene.queue.looks == LOOKS
    scene.queue.looks = 0
    await scene.round()
    assert len(scene.dispatcher._served) == LOOKS + 5


async def test_where_looks_at_the_whole_queue_are_slow_endpoints_are_looked_at_in_turn(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.known.well = [f"whk_{number}" for number in range(SINGLE_LOOKS + 5)]
    monkeypatch.setattr(dispatcher, "SLOW_S", 0.001)
    scene.queue.took_s = 0.2
    await scene.dispatcher.round()
    assert scene.queue.looks == 1
    scene.queue.add("other", "whk_3", 2)
    await scene.round()
    await scene.round()
    assert scene.queue.looks == 1
    assert set(scene.queue.single) == set(scene.known.well)
    assert scene.open_by(1) == {"whk_3": 2}
