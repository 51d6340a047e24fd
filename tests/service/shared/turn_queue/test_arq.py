"""What the turn queue takes from arq: its client, its job format and its key. A new release of arq must keep them."""

import inspect
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import Job, deserialize_job_raw, serialize_job

from shared.contracts.jobs import RunTurn
from shared.ids import new_id
from shared.turn_queue import scripts
from shared.turn_queue.keys import QUEUE
from shared.turn_queue.queue import RUN_TURN, TurnQueue, encode_job

JOB = RunTurn("ws", new_id("trn"), "agt", 1)


def test_arqs_job_format_is_the_one_we_write() -> None:
    assert list(inspect.signature(deserialize_job_raw).parameters) == ["r", "deserializer"]
    assert list(inspect.signature(serialize_job).parameters)[:5] == [
        "function_name",
        "args",
        "kwargs",
        "job_try",
        "enqueue_time_ms",
    ]
    members: tuple[Any, ...] = deserialize_job_raw(encode_job(JOB), deserializer=orjson.loads)
    assert members[:4] == (RUN_TURN, [], JOB.members(), None)


def test_a_job_lies_under_arqs_key() -> None:
    assert f"return '{job_key_prefix}' .. id" in scripts.ENQUEUE.text


async def test_arqs_own_client_reads_a_job_of_the_queue(redis_url: str) -> None:
    queue = TurnQueue.connect(redis_url)
    try:
        assert isinstance(queue, ArqRedis)
        await queue.enqueue(JOB)
        found: Any = await Job(JOB.turn_id, queue, _queue_name=QUEUE, _deserializer=orjson.loads).info()
        assert (found.function, found.kwargs) == (RUN_TURN, JOB.members())
        assert [each.kwargs for each in await queue.queued_jobs(queue_name=QUEUE)] == [JOB.members()]
    finally:
        await queue.aclose()
