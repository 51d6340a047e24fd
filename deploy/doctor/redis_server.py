"""The Redis servers: mode, eviction, version, clock, and whether any worker listens to the queue."""

import time
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError

from deploy.doctor import clocks
from deploy.doctor.addresses import shown
from deploy.doctor.finding import Finding, error, warning
from shared.broker.client import connect
from shared.broker.suitability import LEAST_VERSION, unsuitable
from shared.turn_queue.keys import CONTROL
from shared.turn_queue.queue import TurnQueue

MENDS: Final = {
    "redis_cluster": "Use a single Redis or one behind Sentinel; spread streams with PARLEY_STREAM_REDIS_URLS instead.",
    "redis_replica": "Point the URL at the primary, or use Sentinel.",
    "redis_evicts": "CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf.",
    "redis_version": f"Update Redis to {LEAST_VERSION} or later, or use Valkey.",
}


async def examined(url: str) -> list[Finding]:
    subject, client = shown(url), connect(url, connections=1)
    try:
        await client.ping()  # Connecting takes time, which must not count as a difference of clocks.
        seconds, micros = await client.time()
        found = clocks.judged(subject, seconds + micros / 1e6 - time.time())
        return found + judged(subject, await client.info())
    except NoPermissionError:
        return [
            warning(
                "redis_not_examined",
                subject,
                "The user of this URL may not run INFO, so mode, version and eviction policy are not known.",
                "Run the doctor with the URL of an operator's user, or allow `+info` (deploy/redis/README.md).",
            )
        ]
    except (RedisError, OSError) as fault:
        return [_unreachable(subject, fault)]
    finally:
        await client.aclose()


def judged(subject: str, info: Mapping[str, Any]) -> list[Finding]:
    return [error(fault.code, subject, fault.message, MENDS[fault.code]) for fault in unsuitable(info)]


async def queue_examined(url: str) -> list[Finding]:
    """Whether workers listen, and how long jobs have waited."""
    queue = TurnQueue.connect(url)
    try:
        waiting, oldest_s = await queue.backlog()
        answer = await queue.execute_command("PUBSUB", "NUMSUB", CONTROL)
        return queue_judged(waiting, oldest_s, int(answer[1]))
    except NoPermissionError:
        return []
    except (RedisError, OSError):
        return []  # `examined` has told it.
    finally:
        await queue.aclose()


def queue_judged(waiting: int, oldest_s: float, workers: int) -> list[Finding]:
    if workers == 0:
        message = f"No worker listens to the queue; {waiting} turns wait."
        mend = "Start `python -m services.agent_worker` with this PARLEY_QUEUE_REDIS_URL, and read its first log lines."
        return [error("no_workers", "queue", message, mend)]
    if oldest_s > 60:
        message = f"{waiting} turns wait, the oldest for {oldest_s:.0f} s, although {workers} workers listen."
        return [warning("queue_old", "queue", message, "Add workers, or raise PARLEY_MAX_TURNS if their CPU is idle.")]
    return []


def _unreachable(subject: str, fault: Exception) -> Finding:
    message = f"It does not answer ({type(fault).__name__}), so no turn can start or stream."
    mend = (
        "Check that Redis runs, the address, the password and the firewall: `redis-cli -u URL ping` from this machine."
    )
    return error("redis_unreachable", subject, message, mend)
