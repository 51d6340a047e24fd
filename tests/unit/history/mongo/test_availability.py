"""How many operations run at once, where the driver itself does not bound them."""

import asyncio
from typing import Any, cast

from services.history.mongo.availability import Availability


class Driver:
    def __init__(self, operations: asyncio.Semaphore | None) -> None:
        self.operations = operations

    def collection(self, name: str) -> Any:
        return None


async def most_at_once(operations: asyncio.Semaphore | None) -> int:
    availability = Availability(cast("Any", Driver(operations)))
    availability.open()
    availability.prepared = True
    running = [0]

    async def operation() -> int:
        running[0] += 1
        seen = running[0]
        for _ in range(5):
            await asyncio.sleep(0)
        running[0] -= 1
        return seen

    return max(await asyncio.gather(*(availability.run(operation, "find") for _ in range(20))))


async def test_operations_beyond_the_drivers_bound_wait() -> None:
    assert await most_at_once(asyncio.Semaphore(3)) == 3


async def test_a_driver_with_a_bound_of_its_own_gets_all() -> None:
    assert await most_at_once(None) == 20
