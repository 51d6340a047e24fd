"""Runs a service with a planted bug: `python -m tests.system.chaos.mutant_main <mutant> services.<name> …`.

Each mutant is a plausible mistake of someone who writes such a system for the first time. The product has no hook for
this.
"""

import asyncio
import runpy
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final, cast

from services.gateway.completions import chunks
from services.gateway.streaming.follower import Follower
from services.gateway.streaming.renderer import End, Rendered
from services.history.budgets.gate import Account, BudgetGate
from services.history.knowledge.blobs import BlobStore
from services.history.knowledge.source_erasure import SourceErasure
from services.history.knowledge.version_indexes import VersionIndexes
from services.history.mongo.filters import Document
from services.history.reconcile.outbox import Outbox
from services.history.turns.attempts import Attempts
from services.history.turns.erasure import Erasure
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.lost_attempts import LostAttempts
from services.history.usage.ledger import Ledger
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.relay import Relay
from services.history.webhooks.sender import Sender
from services.history.webhooks.subscriptions import Endpoint
from shared.broker.script import Script
from shared.contracts.frames import FrameId, head_of
from shared.ids import new_id
from shared.run_log import writer
from shared.tasks import BackgroundLoops
from shared.turn_queue.worker import LeasedWorker


def _rewrite(line: str, instead: str) -> None:
    """Changes the script that appends to the log.

    Raises when it has no such line: a bug that is not planted would not be caught.
    """
    if line not in writer._APPEND.text:
        raise ValueError(f"the script has changed, mend this mutant: {line}")
    writer._APPEND = Script.of(writer._APPEND.text.replace(line, instead))


# The frame's id becomes the one that the log gives it.
_NUMBER_AGAIN: Final = " frame = string.gsub(frame, 'id: [%d-]+\\n\\n$', 'id: ' .. id .. '\\n\\n')"


def no_fence() -> None:
    """Whoever writes, writes behind the log's end, and a result is stored whatever attempt it is of."""
    _rewrite(
        "if attempt > mine then return 'fenced' end",
        "if attempt > mine then mine, next = attempt, seq + 1 "
        "attempt_text, seq_text = tostring(mine), tostring(next) end",
    )
    _rewrite("local id = attempt_text .. '-' .. seq_text", "local id = attempt_text .. '-' .. seq_text" + _NUMBER_AGAIN)
    write_end = TurnFinalizer._write_end

    async def unfenced(self: TurnFinalizer, workspace: str, turn_id: str, attempt: int, fields: dict[str, Any]) -> bool:
        row = await self._turns.one({"_id": turn_id, "workspace": workspace}, {"attempt": 1})
        await self._turns.update({"_id": turn_id, "workspace": workspace}, {"$set": {"active": True}})
        return await write_end(self, workspace, turn_id, row["attempt"] if row else 0, fields)

    TurnFinalizer._write_end = unfenced  # type: ignore[method-assign]


def no_log_read() -> None:
    """Who resumes subscribes and goes on from whatever comes next."""
    from_log = Follower._from_log
    proved = Follower._live

    async def skip_first(self: Any) -> Any:
        if getattr(self, "_subscribed", False):
            return await from_log(self)
        self._subscribed = True
        self._listener.gap = False
        return None

    def trusting(self: Any) -> Any:
        frames = self._listener.frames
        if frames and not getattr(self, "_trusted", False):
            self._trusted = True
            first, _ = head_of(frames[0])
            if first is not None:
                self._position = max(self._position, FrameId(first.attempt, first.seq - 1))
        return proved(self)

    Follower._from_log = skip_first  # type: ignore[method-assign]
    Follower._live = trusting  # type: ignore[method-assign]


def early_ack() -> None:
    """The outbox entry is acknowledged first and stored afterwards."""
    acknowledge = Outbox.acknowledge

    async def acknowledged(self: Outbox, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        await self._queue.acknowledge(entry_id, fields.get(b"turn", b"").decode())
        await acknowledge(self, entry_id, fields)

    Outbox.acknowledge = acknowledged  # type: ignore[method-assign]


def server_ids() -> None:
    """Redis makes the number of each frame, so that one which is sent twice is there twice."""
    _rewrite("if had ~= next - 1 then return had end", "")
    _rewrite("local id = attempt_text .. '-' .. seq_text", "local id = attempt_text .. (had == 0 and '-1' or '-*')")
    _rewrite("redis.call('XADD', log, id,", "id = redis.call('XADD', log, id,")
    _rewrite("redis.call('PUBLISH', log, frame)", f"{_NUMBER_AGAIN} redis.call('PUBLISH', log, frame)")


def clean_end() -> None:
    """A stream of chunks whose worker was lost ends as if the answer were whole."""
    frames_of = chunks.ChunkStream.frames

    def ending(self: Any, frames: Any) -> Rendered:
        rendered = frames_of(self, frames)
        if rendered.end is End.BROKEN and chunks._after_restart(frames):
            return Rendered([self.finish({"finishReason": "stop", "messages": []}, None)], End.CLEAN)
        return rendered

    chunks.ChunkStream.frames = ending  # type: ignore[method-assign]


def early_deletion() -> None:
    """A deletion is acknowledged with its tombstone; the turns are left to a reconciler that never comes."""

    async def later(self: Erasure, workspace: str, session_id: str) -> int:
        return 0

    Erasure.erase_session = later  # type: ignore[method-assign]


def unlinked_transcript() -> None:
    """An erasure takes turns out of their session, and leaves what was said in them."""

    async def unlink(self: Erasure, workspace: str, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            await self.in_redis.erase(workspace, [row["_id"]])
            await self._turns.update({"_id": row["_id"]}, {"$unset": {"sessionId": "", "n": ""}})

    Erasure._erase_page = unlink  # type: ignore[method-assign]


def lost_release() -> None:
    """A turn's reservation ends with its completion. Who fails or is cancelled keeps it, and nobody looks for it."""
    ended = BudgetGate.ended

    async def completed_only(
        self: BudgetGate, account: Account, ended_at: datetime, uses: Sequence[Document] | None
    ) -> None:
        row = await self._turns.one({"_id": account.turn_id}, {"status": 1})
        if row is not None and row["status"] == "completed":
            await ended(self, account, ended_at, uses)

    async def never(self: BudgetGate) -> None:
        return None

    BudgetGate.ended = completed_only  # type: ignore[method-assign]
    BudgetGate.reconcile = never  # type: ignore[method-assign]


def unsupervised_loop() -> None:
    """An outage ends a worker's loops, and nobody notices: the process stays ready and does nothing."""

    async def once(self: LeasedWorker, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await loop()

    async def ready(self: BackgroundLoops) -> None:
        return None

    LeasedWorker._through_outages = once  # type: ignore[method-assign]
    BackgroundLoops._ended = lambda self, name, task: None  # type: ignore[method-assign]
    BackgroundLoops.ready = ready  # type: ignore[method-assign]


def billed_again() -> None:
    """The ledger adds each page of turns twice: as if whoever repeats it did not know what is there."""
    bill = Ledger._bill

    async def twice(self: Ledger, rows: Sequence[Document]) -> bool:
        await bill(self, [{**row, "_id": f"{row['_id']}-again"} for row in rows])
        return await bill(self, rows)

    Ledger._bill = twice  # type: ignore[method-assign]


def lost_use() -> None:
    """What an attempt used that did not end its turn is forgotten with it."""

    async def nothing(self: LostAttempts, record: Any, frames: Any = None) -> None:
        return None

    async def unheard(self: Attempts, workspace: str, turn_id: str, attempt: int, uses: Any) -> None:
        return None

    LostAttempts.untold = nothing  # type: ignore[method-assign]
    Attempts.spend = unheard  # type: ignore[method-assign]


def early_taken() -> None:
    """The relay takes a page of events off their documents, and makes the deliveries afterwards."""
    read = Relay._read

    async def taken(self: Relay, name: str, where: dict[str, Any], **options: Any) -> list[Document]:
        rows = await read(self, name, where, **options)
        for row in rows:
            await self._collections[name].update({"_id": row["_id"]}, {"$unset": {"unsent": ""}})
        return rows

    Relay._read = taken  # type: ignore[method-assign]


def newest_first() -> None:
    """A session's events wait on a stack."""

    async def last(self: Deliveries, endpoint: str, lane: str) -> Document | None:
        where = {"endpoint": endpoint, "lane": lane, "waiting": True}
        rows = await self._rows.many(where, order=[("rank", -1)], limit=1)
        return rows[0] if rows else None

    Deliveries.head = last  # type: ignore[method-assign]


def new_event_ids() -> None:
    """Each attempt is an event of its own."""
    signed = Sender._signed

    def anew(self: Sender, endpoint: Endpoint, event_id: str, body: bytes) -> dict[str, str]:
        return signed(self, endpoint, new_id("evt"), body)

    Sender._signed = anew  # type: ignore[method-assign]


def forgotten_blob() -> None:
    """A deletion takes the document, the passages and the versions' entries. The file that was uploaded stays."""
    erase = SourceErasure.erase_unused

    async def keep(blob_id: str) -> None:
        return None

    async def without_blob(self: SourceErasure, source_id: str) -> None:
        self._blobs = cast("BlobStore", SimpleNamespace(delete=keep))
        await erase(self, source_id)

    SourceErasure.erase_unused = without_blob  # type: ignore[method-assign]


def kept_index() -> None:
    """A purge has a new index built of what is left. The one that has the purged text is left to versions."""

    async def nothing(self: VersionIndexes, workspace: str, agent_id: str) -> None:
        return None

    VersionIndexes.erase_unused = nothing  # type: ignore[method-assign]


def purge_once() -> None:
    """A purge gives readers of the source a second, and is not gone on with if its history is killed meanwhile.

    Who asks again is told that the source is gone.
    """
    erase = SourceErasure.erase_unused

    async def later(self: SourceErasure, source_id: str) -> None:
        await asyncio.sleep(1.0)
        await erase(self, source_id)

    async def nothing(self: SourceErasure) -> None:
        return None

    SourceErasure.erase_unused = later  # type: ignore[method-assign]
    SourceErasure.reconcile = nothing  # type: ignore[method-assign]


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "no fence": no_fence,
    "no log read after subscribe": no_log_read,
    "ack before the Mongo write": early_ack,
    "server-made ids": server_ids,
    "clean end on worker loss": clean_end,
    "deletion acknowledged before it is done": early_deletion,
    "erasure leaves the transcript": unlinked_transcript,
    "lost release": lost_release,
    "unsupervised loop": unsupervised_loop,
    "usage billed twice": billed_again,
    "use of lost attempts forgotten": lost_use,
    "event taken off before its delivery": early_taken,
    "newest event of a session first": newest_first,
    "new event id for each attempt": new_event_ids,
    "purge leaves the blob": forgotten_blob,
    "purge leaves the index": kept_index,
    "purge is not gone on with": purge_once,
}


def main() -> None:
    mutant, module, *arguments = sys.argv[1:]
    MUTANTS[mutant]()
    sys.argv[1:] = arguments  # The service reads its own.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
