"""How turns end: with a worker's result, by history itself, or with their session. Nothing else writes a terminal status."""

from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from services.history.metrics import TURNS_FINISHED
from services.history.mongo.client import Database
from services.history.mongo.dialect import Fields
from services.history.mongo.errors import Unstorable
from services.history.mongo.filters import Document, one_of
from services.history.turns.context import Contexts
from services.history.turns.record import (
    WITHOUT_ANSWER,
    WITHOUT_TEXT,
    TurnRecord,
    milliseconds,
    record_of,
    releases_key,
)
from services.history.turns.verdicts import CANCELLED, UNSTORABLE, Verdict
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import FinishedTurn, Timing, Turn, terminal_frame
from shared.ids import new_id
from shared.log import get_logger
from shared.metrics import FENCED_WRITES
from shared.run_log.reader import RunLogs, written_text
from shared.turn_queue.queue import TurnQueue

log = get_logger()
LOG_PAGE = 256


# What a worker's result says of its turn.
_RESULT: Final = ("status", "finish_reason", "usage", "timing", "error")


class TurnFinalizer:
    """Every write names the attempt that it ends; a turn that has ended is never written again."""

    def __init__(self, database: Database, queue: TurnQueue, logs: RunLogs, contexts: Contexts) -> None:
        self._sessions = database.sessions
        self._turns = database.turns
        self._queue = queue
        self._logs = logs
        self.contexts = contexts

    # --- a worker's result

    async def finish(self, finished: FinishedTurn) -> None:
        """Stores a result and then tells the turn's end. A repeat tells it again, which the log refuses if it has it.

        Raises ApiError, RedisError or OSError while a store is away; the caller repeats it.
        """
        workspace, turn_id = finished.workspace, finished.turn_id
        # With its question: together with the answer it is context of the session's next turn.
        record = await self._record(workspace, turn_id, WITHOUT_ANSWER)
        try:
            await self._count(
                record
            )  # First, so that nobody who reads the session finds the turn neither active nor counted.
            stored = await self._store_result(finished)
        except Unstorable:
            await self.park(workspace, turn_id, finished.attempt)
            return
        if not stored:
            record = await self._record(workspace, turn_id)
            if record is not None and (record.active or record.attempt != finished.attempt):
                FENCED_WRITES.labels("turn").inc()
                return
        if record is None:
            # The session was deleted meanwhile; the worker may have written the log anew since.
            await self._logs.erase(workspace, turn_id)
            return
        if stored and record.session_id is not None:
            messages = [message.wire() for message in (*record.input, *finished.output)]
            self.contexts.add(workspace, record.session_id, record.n, finished.status, messages)
        turn = record.turn().model_copy(update={name: getattr(finished, name) for name in _RESULT})
        await self._tell(workspace, turn, finished.output, FrameId(finished.attempt, finished.last_seq + 1))

    async def _store_result(self, finished: FinishedTurn) -> bool:
        """Raises Unstorable."""
        fields = {
            "status": finished.status,
            "finishReason": finished.finish_reason,
            "output": [message.wire() for message in finished.output],
            "usage": finished.usage.wire() if finished.usage else None,
            "timing": finished.timing.wire() if finished.timing else None,
            "error": finished.error,
            "lastSeq": finished.last_seq + 1,
            "endedAt": finished.ended_at,
        }
        return await self._write_end(finished.workspace, finished.turn_id, finished.attempt, fields)

    async def park(self, workspace: str, turn_id: str, attempt: int | None = None) -> None:
        """A result that can never be stored, or not even be read: its turn ends as failed, if it is still this attempt's."""
        log.error("result_unstorable", turn_id=turn_id, attempt=attempt)
        record = await self._record(workspace, turn_id)
        if record is not None and record.active and attempt in (None, record.attempt):
            await self.end(record, UNSTORABLE)

    # --- by history itself

    async def end(self, record: TurnRecord, verdict: Verdict) -> bool:
        """Raises the attempt, so that no worker can write any more, and ends the turn with the text that its log holds.

        False: the turn has moved on since `record` was read. Raises ApiError, RedisError or OSError while a store is away.
        """
        now = datetime.now(UTC)
        text = await self._text_of(record)
        output = (_partial_answer(text, now),) if text else ()
        timing = _timing(record, now)
        error = verdict.error.problem() if verdict.error else None
        fields = {
            "attempt": record.attempt + 1,
            "status": verdict.status,
            "finishReason": "cancelled" if verdict.status == "cancelled" else None,
            "output": [message.wire() for message in output],
            "timing": timing.wire(),
            "error": error,
            "lastSeq": 1,
            "endedAt": now,
        }
        await self._count(record)  # First here too: nobody repeats what this leaves undone once the turn has ended.
        if not await self._write_end(record.workspace, record.id, record.attempt, fields):
            return False
        log.info(
            "turn_ended_by_history",
            turn_id=record.id,
            status=verdict.status,
            code=str(verdict.error.code) if verdict.error else None,
        )
        turn = record.turn().model_copy(
            update={"status": verdict.status, "finish_reason": fields["finishReason"], "timing": timing, "error": error}
        )
        try:
            await self._tell(record.workspace, turn, output, FrameId(record.attempt + 1, 1))
            await self._queue.forget(record.id)
        except (RedisError, OSError) as fault:
            # The end is stored: readers learn it at their next heartbeat, and a job that is left finds nothing to do.
            log.warning("end_not_told", turn_id=record.id, error=type(fault).__name__)
        return True

    async def stop(self, record: TurnRecord) -> None:
        """Cancels an active turn: its worker is told; without one the turn ends here. What fails is repeated by the sweep."""
        await self._turns.update({"_id": record.id, "active": True}, {"$set": {"cancelRequested": True}})
        try:
            if not (await self._queue.job_status(record.id) == "alone" and await self.end(record, CANCELLED)):
                await self._queue.signal_cancel(record.id)
        except (RedisError, OSError) as error:
            log.warning("cancel_delayed", turn_id=record.id, error=type(error).__name__)

    # --- with their session

    async def stop_session(self, workspace: str, session_id: str) -> None:
        record = await self.active_of(workspace, session_id)
        if record is not None:
            await self.stop(record)

    async def active_of(self, workspace: str, session_id: str) -> TurnRecord | None:
        row = await self._turns.one({"workspace": workspace, "sessionId": session_id, "active": True}, WITHOUT_TEXT)
        return record_of(row)

    # --- what they have in common

    async def _record(self, workspace: str, turn_id: str, fields: Fields = WITHOUT_TEXT) -> TurnRecord | None:
        # The workspace is empty for a job that could not be decoded. The turn's id alone names it.
        where = {"_id": turn_id, "workspace": workspace} if workspace else {"_id": turn_id}
        return record_of(await self._turns.one(where, fields))

    async def _count(self, record: TurnRecord | None) -> None:
        """Counts the turn in its session, before its end is told. Until then whoever reads the session looks for its active turn.

        So a turn's admission, for which a user waits, needs no second write. A repeat changes nothing.
        """
        if record is not None and record.session_id is not None:
            where = {"_id": record.session_id, "workspace": record.workspace, "status": one_of(("active", "ended"))}
            await self._sessions.update(where, {"$max": {"turnCount": record.n, "lastMessageAt": record.created_at}})

    async def _write_end(self, workspace: str, turn_id: str, attempt: int, fields: dict[str, Any]) -> bool:
        change: Document = {"$set": {**fields, "active": False}}
        if releases_key(fields["error"]):
            change["$unset"] = {"idempotencyKey": "", "retryKey": ""}
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt}
        if not await self._turns.update(mine, change):
            return False
        TURNS_FINISHED.labels(fields["status"]).inc()
        return True

    async def _tell(self, workspace: str, turn: Turn, output: tuple[TurnMessage, ...], frame_id: FrameId) -> None:
        """The frame that ends the stream, only ever after the document was written: it is the client's receipt."""
        event, data = terminal_frame(turn, output)
        await self._logs.append_terminal(workspace, turn.id, frame_id, event, data)

    async def _text_of(self, record: TurnRecord) -> str:
        if record.first_claim_at is None:
            return ""
        frames: list[StreamFrame] = []
        page, after = LOG_PAGE, BEGINNING
        while page == LOG_PAGE:
            rows = await self._logs.read(record.workspace, record.id, after, LOG_PAGE)
            frames += rows
            page, after = len(rows), (rows[-1].id or after) if rows else after
        return written_text(frames)


def _partial_answer(text: str, now: datetime) -> TurnMessage:
    return TurnMessage(id=new_id("msg"), role="assistant", content=text, status="partial", created_at=now)


def _timing(record: TurnRecord, now: datetime) -> Timing:
    started = record.first_claim_at or now
    return Timing(queued_ms=milliseconds(started - record.created_at), total_ms=milliseconds(now - record.created_at))
