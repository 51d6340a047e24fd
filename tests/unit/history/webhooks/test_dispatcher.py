"""How many deliveries are tried at once, with receivers that never answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.dispatcher import (
    ENDPOINTS_OF_WORKSPACE,
    LANES,
    LANES_OF_ENDPOINT,
    Dispatcher,
)
from services.history.webhooks.sender import Sender
from services.history.webhooks.subscriptions import Endpoint, Subscriptions

Lane = tuple[str, str, str]


class Queue:
    """Deliveries that are due; each is a lane of its own."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.rested: list[str] = []

    def add(self, workspace: str, endpoint: str, count: int) -> None:
        self.lanes += [(workspace, endpoint, f"ses_{len(self.lanes) + number}") for number in range(count)]

    async def due(self, limit: int, but: Sequence[str], but_of: Sequence[str]) -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        return [
            {"workspace": workspace, "endpoint": endpoint, "lane": lane, "createdAt": now}
            for workspace, endpoint, lane in self.lanes
            if endpoint not in but and workspace not in but_of
        ][:limit]

    async def put_off_rest(self, endpoint: str, lane: str, due: datetime) -> None:
        self.rested.append(endpoint)


class Receivers:
    """What is being sent. It ends when a test says so."""

    def __init__(self, queue: Queue) -> None:
        self.open: list[Lane] = []
        self.answered: asyncio.Event = asyncio.Event()
        self._queue = queue

    async def lane(self, workspace: str, endpoint_id: str, lane: str) -> None:
        self.open.append((workspace, endpoint_id, lane))
        await self.answered.wait()
        self._queue.lanes.remove((workspace, endpoint_id, lane))


class Known:
    """Endpoints that fail."""

    def __init__(self) -> None:
        self.failing: set[str] = set()

    def endpoint(self, workspace: str, endpoint_id: str) -> Endpoint | None:
        since = datetime.now(UTC) if endpoint_id in self.failing else None
        return Endpoint(endpoint_id, workspace, "https://shop.example", frozenset(), (), since)


class Scene:
    def __init__(self) -> None:
        self.queue, self.known = Queue(), Known()
        self.receivers = Receivers(self.queue)
        self.dispatcher = Dispatcher(
            cast("Subscriptions", self.known), cast("Deliveries", self.queue), cast("Sender", self.receivers), 5.0
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


async def test_an_endpoint_that_fails_has_one_attempt_and_the_others_rest(scene: Scene) -> None:
    scene.known.failing.add("whk_bad")
    scene.queue.add("acme", "whk_bad", 10)
    await scene.round()
    assert len(scene.receivers.open) == 1
    scene.receivers.answered.set()
    await scene.round()
    assert scene.queue.rested[:1] == ["whk_bad"]


async def test_an_endpoint_that_begins_to_fail_gives_its_places_up(scene: Scene) -> None:
    scene.queue.add("acme", "whk_bad", 50)
    await scene.round()
    scene.known.failing.add("whk_bad")
    scene.receivers.answered.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(scene.receivers.open) == LANES_OF_ENDPOINT
    assert scene.queue.rested == ["whk_bad"]
