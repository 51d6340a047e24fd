"""Whether the times in the list of stream Redises were announced before they came.

Processes with the list of before know nothing of a time that had passed when it was given first: they look for the
turns that began since at another server. One process cannot see what the others were given. So history, which is
replaced first, notes in Redis which times it has seen, and logs those that came too late. It does not refuse to start:
a flushed Redis knows no time, and the list is right then.
"""

import time
from datetime import UTC, datetime
from typing import Final

from shared.broker.shards import Shards
from shared.log import get_logger
from shared.turn_queue.queue import TurnQueue

log = get_logger()

SEEN: Final = "parley:streams:times"


class StreamTimes:
    def __init__(self, queue: TurnQueue, shards: Shards) -> None:
        self._queue = queue
        self._left = list(shards.times)

    async def note(self) -> None:
        """Looks at each time once in a process' life. Several processes tell of it once. Raises RedisError, OSError."""
        while self._left:
            change = self._left[-1]
            now_ms = time.time_ns() // 1_000_000
            is_new = await self._queue.hsetnx(SEEN, change.name, str(now_ms))  # type: ignore[misc]
            if is_new and change.at_ms <= now_ms:
                at = datetime.fromtimestamp(change.at_ms / 1000, UTC).isoformat(timespec="seconds")
                log.error(
                    "stream_time_was_past",
                    setting="PARLEY_STREAM_REDIS_URLS",
                    number=change.number,
                    member=change.member,
                    at=at,
                    advice="If any process ran with another list at that time, give the list a time that is to come.",
                )
            self._left.pop()
