"""The outbox: what workers have finished, read as a consumer group and settled once it is stored and told."""

import asyncio
import os
import random
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from redis.exceptions import RedisError, ResponseError

from services.history.metrics import OUTBOX_LAG
from services.history.turns.finalize import TurnFinalizer
from shared.broker.script import Script
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.outbox import GROUP, OUTBOX, OutboxEntry, UnreadableEntry
from shared.tasks import BackgroundLoops
from shared.turn_queue.queue import TurnQueue

log = get_logger()

Entry = tuple[bytes, dict[bytes, bytes]]

# A journaled write costs milliseconds: so many at once keep the store busy and this process's memory bounded.
CONCURRENCY: Final = 32
BLOCK_MS: Final = 250
IDLE_MS: Final = 5_000
RECLAIM_EVERY_S: Final = 2.0
OUTAGE_PAUSE_S: Final = 0.2
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0
# An entry that is older than this is not on its usual way: the sweep deals with it, whoever has it.
SUSPICIOUS_S: Final = 1.0
DRAIN_COUNT: Final = 1_000
DEAD_CONSUMER_S: Final = 3_600.0
STALE_S: Final = 15.0

# A consumer that goes takes its pending entries with it: so it goes only without any.
_LEAVE: Final = Script.of("""
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
""")


class Outbox:
    """Reads while it is open; on leaving, finishes what it has begun. Entries that it could not settle stay pending for others."""

    def __init__(self, queue: TurnQueue, finalizer: TurnFinalizer) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._queue = queue
        self._finalizer = finalizer
        self._stopping = asyncio.Event()
        self._under_way: dict[bytes, asyncio.Task[None]] = {}
        self._slot_free = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self.loops = BackgroundLoops()

    async def __aenter__(self) -> Self:
        self._reader = self.loops.start("outbox", self._read_on(), stale_after_s=STALE_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The reader ends by itself: a read that is cut off would leave its entries pending."""
        self.loops.expect_end()
        self._stopping.set()
        if self._reader is not None:
            await asyncio.wait([self._reader])
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        with suppress(RedisError, OSError):
            await self._remove(self.name)

    # --- reading

    async def _read_on(self) -> None:
        reclaimed = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() - reclaimed > RECLAIM_EVERY_S:
                    self._start(await self._reclaim())
                    reclaimed = time.monotonic()
                self._start(await self._read(await self._room()))
                self.loops.succeeded("outbox")
            except ResponseError as error:
                await self._answer_refusal(error)
            except (RedisError, OSError) as error:
                log.warning("outbox_unreachable", error=type(error).__name__)
                await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _room(self) -> int:
        while len(self._under_way) >= CONCURRENCY:
            self._slot_free.clear()
            await self._slot_free.wait()
        return CONCURRENCY - len(self._under_way)

    async def _read(self, count: int) -> list[Entry]:
        answer = await self._queue.xreadgroup(GROUP, self.name, {OUTBOX: ">"}, count=count, block=BLOCK_MS)
        return list(answer[0][1]) if answer else []

    async def _reclaim(self) -> list[Entry]:
        """Entries of consumers that have died, or have been stuck with them."""
        room = CONCURRENCY - len(self._under_way)
        if room <= 0:
            return []
        _, entries, *_ = await self._queue.xautoclaim(OUTBOX, GROUP, self.name, min_idle_time=IDLE_MS, count=room)
        return [(entry_id, fields) for entry_id, fields in entries if fields]

    async def _answer_refusal(self, error: ResponseError) -> None:
        if "NOGROUP" not in str(error) and "UNBLOCKED" not in str(error):
            log.warning("outbox_refused", error=type(error).__name__)
            await asyncio.sleep(OUTAGE_PAUSE_S)
        # The first start, or a flush. From 0: what workers have put there before the group was there counts.
        with suppress(RedisError, OSError):
            await self._queue.xgroup_create(OUTBOX, GROUP, id="0", mkstream=True)

    # --- dealing with entries

    def _start(self, entries: list[Entry]) -> None:
        for entry_id, fields in entries:
            if entry_id not in self._under_way:
                task = asyncio.create_task(self._deal_with(entry_id, fields))
                self._under_way[entry_id] = task
                task.add_done_callback(lambda _, entry_id=entry_id: self._ended(entry_id))  # type: ignore[misc]

    def _ended(self, entry_id: bytes) -> None:
        del self._under_way[entry_id]
        self._slot_free.set()

    async def _deal_with(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Until it is settled. An outage is waited out; what is wrong otherwise stays pending and comes back."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                return await self.acknowledge(entry_id, fields)
            except (ApiError, RedisError, OSError) as error:
                log.warning("finish_delayed", turn_id=_text(fields, b"turn"), error=type(error).__name__)
            except Exception:
                log.exception("finish_failed", turn_id=_text(fields, b"turn"))
                return None
            if self._stopping.is_set():
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.5, 1.0)):
                    await self._stopping.wait()
            pause_s = min(LAST_RETRY_S, pause_s * 2)

    async def acknowledge(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Stores, tells, and only then removes the entry. Safe for several processes at once: each step may be repeated.

        Raises ApiError, RedisError or OSError while a store is away.
        """
        entry = OutboxEntry.of(fields)
        try:
            finished = entry.finished_turn()
        except UnreadableEntry:
            await self._finalizer.park(entry.workspace, entry.turn_id)
        else:
            await self._finalizer.finish(finished)
        await self._queue.acknowledge(entry_id, entry.turn_id)
        OUTBOX_LAG.observe(_age_s(entry_id))

    # --- for the sweep

    async def drain(self) -> set[str] | None:
        """Deals with every entry that is not on its usual way, whoever has it; the turns that the outbox still holds.

        None: there are too many to tell, so nobody can be judged. Raises RedisError or OSError while Redis is away.
        """
        if not await self._queue.xlen(OUTBOX):
            return set()
        entries: list[Entry] = await self._queue.xrange(OUTBOX, count=DRAIN_COUNT)
        self._start([entry for entry in entries[:CONCURRENCY] if _age_s(entry[0]) > SUSPICIOUS_S])
        return {_text(fields, b"turn") for _, fields in entries} if len(entries) < DRAIN_COUNT else None

    async def remove_dead(self) -> None:
        """Consumers whose process has long ended."""
        for consumer in await self._queue.xinfo_consumers(OUTBOX, GROUP):
            if consumer["idle"] > DEAD_CONSUMER_S * 1000 and not consumer["pending"]:
                await self._remove(consumer["name"])

    async def _remove(self, name: str | bytes) -> None:
        await _LEAVE.run(self._queue.execute_command, [OUTBOX], [GROUP, name])


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")


def _age_s(entry_id: bytes) -> float:
    """By Redis' clock against ours: good enough for a threshold and a histogram."""
    return max(0.0, time.time() - int(entry_id.partition(b"-")[0]) / 1000)
