import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.broker.batches import BATCH, ScriptBatches
from shared.broker.script import Script
from tests.conftest import eventually

ADD = Script.of("return redis.call('INCRBY', KEYS[1], ARGV[1])")


async def test_a_burst_of_calls_is_answered_one_by_one_in_few_writes(redis_url: str) -> None:
    batches = ScriptBatches(redis_url)
    try:
        await batches.ask(ADD, ["warm"], 0)
        async with Redis.from_url(redis_url) as redis:
            before = (await redis.info("stats"))["total_reads_processed"]
            assert await asyncio.gather(*(batches.ask(ADD, ["n"], 1) for _ in range(5 * BATCH))) == [
                *range(1, 5 * BATCH + 1)
            ]
            assert (await redis.info("stats"))["total_reads_processed"] - before < BATCH
    finally:
        await batches.close()


async def test_a_redis_that_forgot_the_script_runs_each_call_once(redis_url: str) -> None:
    batches = ScriptBatches(redis_url)
    try:
        for _ in range(2):
            async with Redis.from_url(redis_url) as redis:
                await redis.script_flush()
            await asyncio.gather(*(batches.ask(ADD, ["n"], 1) for _ in range(10)))
        assert await batches.ask(ADD, ["n"], 0) == 20
    finally:
        await batches.close()


async def test_an_error_is_its_own_callers_only(redis_url: str) -> None:
    batches = ScriptBatches(redis_url)
    try:
        answers = await asyncio.gather(batches.ask(ADD, ["n"], "x"), batches.ask(ADD, ["n"], 1), return_exceptions=True)
        assert isinstance(answers[0], ResponseError)
        assert answers[1] == 1
    finally:
        await batches.close()


async def test_a_cancelled_caller_does_not_disturb_the_others(redis_url: str) -> None:
    batches = ScriptBatches(redis_url)
    try:
        gone, stays = (asyncio.create_task(batches.ask(ADD, ["n"], 1)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays in (1, 2)
    finally:
        await batches.close()


async def test_without_redis_every_caller_is_told() -> None:
    batches = ScriptBatches("redis://127.0.0.1:9/0")
    try:
        answers = await asyncio.gather(*(batches.ask(ADD, ["n"], 1) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(answer, (RedisError, OSError)) for answer in answers)
    finally:
        await batches.close()


async def test_closing_leaves_no_caller_waiting(redis_url: str) -> None:
    batches = ScriptBatches(redis_url)
    callers = [asyncio.create_task(batches.ask(ADD, ["n"], 1)) for _ in range(2 * BATCH)]
    await asyncio.sleep(0)
    await batches.close()
    done, pending = await asyncio.wait(callers, timeout=30)
    assert not pending
    assert any(task.cancelled() for task in done)


async def test_what_nobody_waits_for_runs_by_itself_and_before_what_is_asked_later(redis_url: str) -> None:
    batches = ScriptBatches(redis_url)
    read = Script.of("return tonumber(redis.call('GET', KEYS[1]) or 0)")
    try:
        batches.tell(ADD, ["n"], 1)
        batches.tell(ADD, ["n"], 1)
        assert await batches.ask(read, ["n"]) == 2
        batches.tell(ADD, ["n"], 1)
        async with Redis.from_url(redis_url) as redis:

            async def has_run() -> bool:
                return bool(await redis.get("n") == b"3")

            await eventually(has_run, what="what was told")
        batches.tell(ADD, ["n"], "x")
        batches.tell(ADD, ["n"], 1)
        await batches.flush()
        assert await batches.ask(read, ["n"]) == 4
    finally:
        await batches.close()
