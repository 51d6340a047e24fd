import asyncio
from collections.abc import AsyncIterator

import pytest

from shared import tasks
from shared.tasks import BackgroundLoops, LoopEnded, StaleLoops, loops_ready, supervise


@pytest.fixture
async def loops() -> AsyncIterator[BackgroundLoops]:
    loops = BackgroundLoops()
    yield loops
    await loops.end()


async def forever() -> None:
    await asyncio.Event().wait()


async def ends_with(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, RuntimeError("a bug")], ids=["returns", "raises"])
async def test_a_loop_that_ends_by_itself_ends_the_supervision(loops: BackgroundLoops, error: Exception | None) -> None:
    loops.start("good", forever())
    loops.start("bad", ends_with(error))
    with pytest.raises(LoopEnded, match="bad"):
        await supervise(asyncio.Event().wait(), loops)
    with pytest.raises(LoopEnded, match="bad"):
        await loops.ready()


async def test_a_loop_that_is_cancelled_from_elsewhere_counts_as_ended(loops: BackgroundLoops) -> None:
    task = loops.start("lost", forever())
    task.cancel()
    with pytest.raises(LoopEnded, match="lost"):
        await supervise(asyncio.Event().wait(), loops)


async def test_supervision_returns_when_the_process_is_told_to_stop(loops: BackgroundLoops) -> None:
    loops.start("good", forever())
    stop = asyncio.Event()
    stop.set()
    await supervise(stop.wait(), loops)
    await loops.end()
    assert not loops.failed.is_set()


async def test_an_expected_end_is_no_failure(loops: BackgroundLoops) -> None:
    go_on = asyncio.Event()

    async def until_told() -> None:
        await go_on.wait()

    task = loops.start("polite", until_told())
    loops.expect_end()
    go_on.set()
    await task
    assert not loops.failed.is_set()


async def test_a_loop_without_success_makes_the_process_unready(
    loops: BackgroundLoops, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("shared.tasks.time.monotonic", lambda: now)
    loops.start("works", forever(), stale_after_s=5.0)
    loops.start("stuck", forever(), stale_after_s=5.0)
    loops.start("untimed", forever())
    await loops_ready(loops)
    now += 5.1
    loops.succeeded("works")
    with pytest.raises(StaleLoops, match=r"^stuck$"):
        await loops_ready(loops)
    assert next(iter(tasks.LOOP_AGE.labels("stuck")._child_samples())).value == pytest.approx(5.1)
    loops.succeeded("stuck")
    await loops_ready(loops)


async def test_an_idle_loop_is_never_stale(loops: BackgroundLoops, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("shared.tasks.time.monotonic", lambda: now)
    loops.start("writer", forever(), stale_after_s=5.0)
    loops.idle("writer")
    now += 1000
    await loops.ready()
    loops.succeeded("writer")
    now += 5.1
    with pytest.raises(StaleLoops):
        await loops.ready()
