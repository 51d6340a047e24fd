"""The outbox consumer: reads finished turns as a consumer group, and acknowledges each after its end is published."""

import asyncio
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from redis.exceptions import RedisError, ResponseError

from services.history.metrics import OUTBOX_LAG, OUTBOX_PARKED, STORE_ERRORS
from services.history.mongo.errors import Unstorable
from services.history.reconcile.faults import is_outage
from services.history.reconcile.parking import Parking
from services.history.turns.finalize import TurnFinalizer
from shared.backoff import backoff
from shared.broker.script import Script
from shared.ids import process_name
from shared.log import get_logger
from shared.outbox import GROUP, OUTBOX, OutboxEntry, UnreadableEntry
from shared.tasks import BackgroundLoops
from shared.tracing.spans import span_below
from shared.tracing.traceparent import valid
from shared.turn_queue.queue import TurnQueue

log = get_logger()

Entry = tuple[bytes, dict[bytes, bytes]]

# A journaled write takes milliseconds. This many at once keep MongoDB busy and the memory of this process bounded.
CONCURRENCY: Final = 32
BLOCK_MS: Final = 250
IDLE_MS: Final = 5_000
RECLAIM_EVERY_S: Final = 2.0
OUTAGE_PAUSE_S: Final = 0.2
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0
# With the pauses between them about 1.5 s: enough for a connection that breaks in an unusual way.
POISON_TRIES: Final = 6
_REASONS: Final[dict[type[Exception], str]] = {UnreadableEntry: "unreadable", Unstorable: "unstorable"}
FAILING: Final = "failing"
for _reason in (*_REASONS.values(), FAILING):
    OUTBOX_PARKED.labels(_reason)  # An alert watches it: the first one must be a rise from 0.
# An older entry is not on its usual way, so the reconciler processes it, whoever has it.
SUSPICIOUS_S: Final = 1.0
DRAIN_COUNT: Final = 1_000
DEAD_CONSUMER_S: Final = 3_600.0
STALE_S: Final = 15.0

# Deleting a consumer drops its pending entries, so it is deleted only without any.
_LEAVE: Final = Script.of("""
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
""")


class Outbox:
    """Reads while it is open, and finishes on leaving what it has started.

    Other entries stay pending for other processes.
    """

    def __init__(self, queue: TurnQueue, finalizer: TurnFinalizer, parking: Parking) -> None:
        self.name = process_name()
        self._queue = queue
        self._finalizer = finalizer
        self._parking = parking
        self._under_way: dict[bytes, asyncio.Task[None]] = {}
        self._slot_free = asyncio.Event()
        self.loops = BackgroundLoops()

    async def __aenter__(self) -> Self:
        self.loops.start("outbox", self._read_on(), stale_after_s=STALE_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The reader ends by itself: a cancelled read would leave its entries pending."""
        await self.loops.finish()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        with suppress(RedisError, OSError):
            await self._remove(self.name)

    # --- reading

    async def _read_on(self) -> None:
        reclaimed = 0.0
        while not self.loops.stopping.is_set():
            try:
                if time.monotonic() - reclaimed > RECLAIM_EVERY_S:
                    self._start(await self._reclaim())
                    reclaimed = time.monotonic()
                self._start(await self._read(await self._room()))
                self.loops.succeeded("outbox")
            except ResponseError as error:
                await self._answer_refusal(error)
            except (RedisError, OSError) as error:
                await self._wait("outbox_unreachable", error)

    async def _room(self) -> int:
        while len(self._under_way) >= CONCURRENCY:
            self._slot_free.clear()
            await self._slot_free.wait()
        return CONCURRENCY - len(self._under_way)

    async def _read(self, count: int) -> list[Entry]:
        answer = await self._queue.xreadgroup(GROUP, self.name, {OUTBOX: ">"}, count=count, block=BLOCK_MS)
        return list(answer[0][1]) if answer else []

    async def _reclaim(self) -> list[Entry]:
        """Takes over the entries of consumers that have died or are stuck."""
        room = CONCURRENCY - len(self._under_way)
        if room <= 0:
            return []
        _, entries, *_ = await self._queue.xautoclaim(OUTBOX, GROUP, self.name, min_idle_time=IDLE_MS, count=room)
        return [(entry_id, fields) for entry_id, fields in entries if fields]

    async def _answer_refusal(self, error: ResponseError) -> None:
        if "NOGROUP" not in str(error) and "UNBLOCKED" not in str(error):
            await self._wait("outbox_refused", error)
        # The first start, or a flush. The group starts at 0, so that it gets what workers have added before.
        with suppress(RedisError, OSError):
            await self._queue.xgroup_create(OUTBOX, GROUP, id="0", mkstream=True)

    async def _wait(self, event: str, error: Exception) -> None:
        """Counted here, because an outage of Redis keeps the calls away in which it would be noticed."""
        STORE_ERRORS.labels("redis").inc()
        log.warning(event, error=type(error).__name__)
        await asyncio.sleep(OUTAGE_PAUSE_S)

    # --- processing entries

    def _start(self, entries: list[Entry]) -> None:
        for entry_id, fields in entries:
            if entry_id not in self._under_way:
                task = asyncio.create_task(self._process(entry_id, fields))
                self._under_way[entry_id] = task
                task.add_done_callback(lambda _, entry_id=entry_id: self._ended(entry_id))  # type: ignore[misc]

    def _ended(self, entry_id: bytes) -> None:
        del self._under_way[entry_id]
        self._slot_free.set()

    async def _process(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Until the entry is acknowledged or parked.

        An outage is waited out; any other failure has a limited number of tries.
        """
        failures = 0
        for pause_s in backoff(FIRST_RETRY_S, LAST_RETRY_S):
            try:
                return await self.acknowledge(entry_id, fields)
            except (UnreadableEntry, Unstorable) as error:
                failures, reason = POISON_TRIES, _REASONS[type(error)]
            except Exception as error:
                reason = FAILING
                if is_outage(error):
                    log.warning("finish_delayed", turn_id=_text(fields, b"turn"), error=type(error).__name__)
                else:
                    failures += 1
                    log.exception("finish_failed", turn_id=_text(fields, b"turn"), failures=failures)
            if failures >= POISON_TRIES and await self._parked(entry_id, fields, reason):
                return None
            if self.loops.stopping.is_set():
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.loops.stopping.wait()
        return None

    async def acknowledge(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        """Stores the result, publishes the turn's end, and only then removes the entry.

        Safe in several processes at once: each step may be repeated. Raises UnreadableEntry and Unstorable for an entry
        that can never be stored, and ApiError, RedisError or OSError while a store is away.
        """
        finished = OutboxEntry.of(fields).finished_turn()
        with span_below(
            valid(finished.traceparent or ""), "store_turn", "consumer", {"parley.turn.id": finished.turn_id}
        ):
            await self._finalizer.finish(finished)
        await self._queue.acknowledge(entry_id, _text(fields, b"turn"))
        OUTBOX_LAG.observe(_age_s(entry_id))

    async def _parked(self, entry_id: bytes, fields: dict[bytes, bytes], reason: str) -> bool:
        """Whether the entry is out of the way. If parking it fails too, the entry stays and is tried again."""
        entry = OutboxEntry.of(fields)
        try:
            await self._parking.park(entry_id, entry, _attempt_of(entry), reason)
            await self._queue.acknowledge(entry_id, entry.turn_id)
        except Exception as error:
            log.warning("parking_delayed", turn_id=entry.turn_id, error=type(error).__name__)
            return False
        return True

    # --- for the reconciler

    async def drain(self) -> set[str] | None:
        """Processes every entry that is late, whoever has it. Returns the turns whose results the outbox still holds.

        None: there are too many entries to list, so no turn may be judged. Raises RedisError or OSError while Redis is
        away.
        """
        if not await self._queue.xlen(OUTBOX):
            return set()
        entries: list[Entry] = await self._queue.xrange(OUTBOX, count=DRAIN_COUNT)
        self._start([entry for entry in entries[:CONCURRENCY] if _age_s(entry[0]) > SUSPICIOUS_S])
        return {_text(fields, b"turn") for _, fields in entries} if len(entries) < DRAIN_COUNT else None

    async def remove_dead(self) -> None:
        """Removes consumers whose process has ended long ago."""
        for consumer in await self._queue.xinfo_consumers(OUTBOX, GROUP):
            if consumer["idle"] > DEAD_CONSUMER_S * 1000 and not consumer["pending"]:
                await self._remove(consumer["name"])

    async def _remove(self, name: str | bytes) -> None:
        await _LEAVE.run(self._queue.execute_command, [OUTBOX], [GROUP, name])


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")


def _age_s(entry_id: bytes) -> float:
    """The difference between Redis' clock and ours, which is exact enough for a threshold and a histogram."""
    return max(0.0, time.time() - int(entry_id.partition(b"-")[0]) / 1000)


def _attempt_of(entry: OutboxEntry) -> int | None:
    try:
        return entry.finished_turn().attempt
    except UnreadableEntry:
        return None
