"""Places for turns that claim and start: fewer while history is late, and none is ever lost."""

import asyncio

import pytest

from services.agent_worker.turns.start_places import FEWEST, StartPlaces


async def test_no_more_than_the_limit_are_held_and_the_first_to_wait_is_the_first_to_go_on() -> None:
    places, order = StartPlaces(2), list[int]()

    async def hold(number: int) -> None:
        async with places.place():
            order.append(number)
            await asyncio.sleep(0)

    for _ in range(2):
        await places.take()
    waiting = [asyncio.create_task(hold(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    places.give_back()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_those_that_are_late_together_halve_the_places_once_and_each_in_time_adds_one() -> None:
    places = StartPlaces(16)
    together = [places.place() for _ in range(16)]
    for place in together:
        await place.__aenter__()
    for place in together:
        place.late()
        await place.__aexit__(None, None, None)
    assert places.limit == 8
    for _ in range(9):
        async with places.place() as place:
            place.late()
    assert places.limit == FEWEST
    for expected in range(FEWEST + 1, 20):
        async with places.place() as place:
            place.started()
        assert places.limit == min(16, expected)


@pytest.mark.parametrize("is_woken", [False, True])
async def test_a_turn_that_is_cancelled_while_it_waits_leaves_its_place_to_the_next(is_woken: bool) -> None:
    places = StartPlaces(1)
    await places.take()
    first, second = asyncio.create_task(places.take()), asyncio.create_task(places.take())
    await asyncio.sleep(0)
    if is_woken:
        places.give_back()
        first.cancel()
    else:
        first.cancel()
        places.give_back()
    await asyncio.wait_for(second, 5)
    with pytest.raises(asyncio.CancelledError):
        await first
    places.give_back()
    await asyncio.wait_for(places.take(), 5)
