"""Jobs that cannot be decoded: they go to a bounded list in Redis, and history ends their turns as failed."""

import time
from base64 import b64encode
from typing import Final

import orjson
from prometheus_client import Counter

from shared.contracts.jobs import UndecodableJob
from shared.log import get_logger
from shared.outbox import SCHEMA_VERSION
from shared.turn_queue import scripts
from shared.turn_queue.keys import DEAD_LETTERS
from shared.turn_queue.queue import TurnQueue

log = get_logger()

# The newest are kept. A letter holds a job, which has ids only.
KEPT: Final = 1_000
UNDECODABLE_JOBS = Counter(
    "parley_undecodable_jobs_total", "Jobs moved to the dead letters, because no worker can decode them"
)


async def bury(queue: TurnQueue, turn_id: str, claim_id: str, payload: bytes, error: UndecodableJob) -> None:
    """Moves the claimed job to the dead letters. History then ends its turn as failed. Raises RedisError or OSError."""
    letter = {"turnId": turn_id, "reason": str(error), "at": round(time.time(), 3), "job": _shown(payload)}
    if await queue.run_script(scripts.DEAD_LETTER, turn_id, claim_id, orjson.dumps(letter), KEPT, SCHEMA_VERSION):
        UNDECODABLE_JOBS.inc()
        log.error("job_undecodable", turn_id=turn_id, reason=str(error))


async def keep_letter(queue: TurnQueue, letter: bytes) -> None:
    """Adds a letter about something else than a job. Raises RedisError or OSError."""
    async with queue.pipeline(transaction=True) as pipeline:
        pipeline.lpush(DEAD_LETTERS, letter)
        pipeline.ltrim(DEAD_LETTERS, 0, KEPT - 1)
        await pipeline.execute()


def _shown(payload: bytes) -> str:
    """As text where it is text; otherwise `base64:…`."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return "base64:" + b64encode(payload).decode()
