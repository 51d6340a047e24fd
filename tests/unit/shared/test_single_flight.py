import asyncio

import pytest

from shared.single_flight import SingleFlight


class Source:
    """Counts its calls; each waits until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def read(self) -> int:
        self.calls += 1
        number = self.calls
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return number


async def asked(flight: SingleFlight[str, int], source: Source, count: int) -> list["asyncio.Task[int]"]:
    tasks = [asyncio.create_task(flight.run("key", source.read)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_concurrent_callers_share_one_call_and_later_ones_make_another() -> None:
    flight, source = SingleFlight[str, int](), Source()
    tasks = await asked(flight, source, 3)
    source.go_on.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await flight.run("key", source.read) == 2


async def test_another_key_has_a_call_of_its_own() -> None:
    flight, source = SingleFlight[str, int](), Source()
    source.go_on.set()
    answers = await asyncio.gather(*(flight.run(key, source.read) for key in "ab"))
    assert answers == [1, 2]


async def test_one_callers_cancellation_takes_the_answer_from_nobody() -> None:
    flight, source = SingleFlight[str, int](), Source()
    first, second = await asked(flight, source, 2)
    first.cancel()
    await asyncio.sleep(0)
    source.go_on.set()
    assert await second == 1
    assert first.cancelled()


async def test_all_callers_get_the_error_and_the_next_call_tries_again() -> None:
    flight, source = SingleFlight[str, int](), Source()
    source.error = ValueError("away")
    tasks = await asked(flight, source, 2)
    source.go_on.set()
    for task in tasks:
        with pytest.raises(ValueError, match="away"):
            await task
    source.error = None
    assert await flight.run("key", source.read) == 2


async def test_who_asks_after_forget_gets_a_newer_answer() -> None:
    flight, source = SingleFlight[str, int](), Source()
    (first,) = await asked(flight, source, 1)
    flight.forget("key")
    (second,) = await asked(flight, source, 1)
    source.go_on.set()
    assert (await first, await second) == (1, 2)
