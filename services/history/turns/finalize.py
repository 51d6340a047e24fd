"""The finalizer writes the end of a turn: a worker's result, or an end by history itself.

Nothing else writes a terminal status.
"""

from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from services.history.budgets.gate import BudgetGate
from services.history.metrics import KNOWLEDGE_GAPS, TURNS_FINISHED
from services.history.mongo.client import Database
from services.history.mongo.dialect import Fields
from services.history.mongo.errors import Unstorable
from services.history.mongo.filters import Document, one_of, up_to
from services.history.turns.accounts import account_of
from services.history.turns.checked_input import earlier_input
from services.history.turns.context import Contexts
from services.history.turns.effects import SessionEffects
from services.history.turns.end_counts import EndCounts
from services.history.turns.endings import end_event, ending, timing_of
from services.history.turns.erasing_marks import ErasingMarks
from services.history.turns.gaps import gap_of
from services.history.turns.lost_attempts import LostAttempts
from services.history.turns.places import Places
from services.history.turns.record import (
    USAGE_ONLY,
    WITHOUT_ANSWER,
    WITHOUT_TEXT,
    TurnRecord,
    record_of,
    releases_key,
)
from services.history.turns.spoken_words import SpokenWords
from services.history.turns.verdicts import CANCELLED, Verdict
from services.history.turns.written import frames_of, partial_answer, written_of
from services.history.usage.entries import lost_uses, priced_uses, unbilled
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.frames import FrameId
from shared.contracts.prices import PriceTable
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import FinishedTurn, Turn, terminal_frame
from shared.log import get_logger
from shared.metrics import FENCED_WRITES
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue

log = get_logger()
# The members of a turn that a worker's result sets.
_RESULT: Final = ("status", "finish_reason", "usage", "timing", "error", "guardrails")


class TurnFinalizer:
    """Every write names the attempt that it ends; a turn that has ended is never written again."""

    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        logs: RunLogs,
        contexts: Contexts,
        places: Places,
        gate: BudgetGate,
        lost: LostAttempts,
        subscriptions: Subscriptions,
        words: SpokenWords,
        prices: PriceTable,
    ) -> None:
        self._sessions = database.sessions
        self._marks = ErasingMarks(database)
        self._turns = database.turns
        self._queue = queue
        self._logs = logs
        self._effects = SessionEffects(database, subscriptions)
        self._subscriptions = subscriptions
        self._gate = gate
        self._prices = prices
        self._counts = EndCounts()
        self._words = words
        self.places = places
        self.lost = lost
        self.contexts = contexts

    # --- a worker's result

    async def finish(self, finished: FinishedTurn) -> None:
        """Stores a result and then publishes the turn's end.

        A repeat publishes it again, and the log drops the second one. Raises Unstorable for a result that can never be
        stored, and ApiError, RedisError or OSError while a store is away.
        """
        workspace, turn_id = finished.workspace, finished.turn_id
        # With the question: together with the answer it is context of the session's next turn.
        record = await self._record(workspace, turn_id, WITHOUT_ANSWER)
        # The session counts the turn first: nobody who reads the session may find the turn neither active nor counted.
        await self._count(record)
        await self._effects.collect(record, finished)
        gap = gap_of(record, finished)
        uses, used = priced_uses(finished, self._prices), list[Document]()
        stored = await self._store_result(
            finished,
            {"uses": uses}
            | gap
            | self._words.told(record, finished.output)
            | end_event(self._subscriptions, record, finished.status)
            | unbilled(record is None or record.check is not None),
        )
        if not stored:
            record = await self._record(workspace, turn_id)
            if record is not None and (record.active or record.attempt != finished.attempt):
                FENCED_WRITES.labels("turn").inc()
                return
        if record is None:
            # The session was erased meanwhile; the worker may have written the log again since.
            await self._logs.erase(workspace, turn_id)
            return
        if stored:
            used = [*uses, *lost_uses(record.spent, finished.attempt)]
            self._counts.count(record, finished.status, finished.error["code"] if finished.error else None, used)
            if gap:
                KNOWLEDGE_GAPS.labels(gap["gapReason"]).inc()
        if stored and record.session_id is not None:
            status, messages = earlier_input(finished, record.input)
            said = [message.wire() for message in (*messages, *finished.output)]
            self.contexts.add(workspace, record.session_id, record.n, status, said, finished.usage)
        if await self._effects.end_session(record, finished) and record.session_id is not None:
            # A turn that was admitted in between is cancelled, as with any other end of a session.
            await self.stop_session(workspace, record.session_id)
        await self.places.give_back(record.id, record.places)
        turn = record.turn().model_copy(update={name: getattr(finished, name) for name in _RESULT})
        await self._gate.ended(account_of(record), finished.ended_at, used if stored else None)
        await self._publish(workspace, turn, finished.output, FrameId(finished.attempt, finished.last_seq + 1))

    async def _store_result(self, finished: FinishedTurn, marks: Document) -> bool:
        """Raises Unstorable."""
        fields = {
            "status": finished.status,
            "finishReason": finished.finish_reason,
            "output": [message.wire() for message in finished.output],
            "usage": finished.usage.wire() if finished.usage else None,
            "timing": finished.timing.wire() if finished.timing else None,
            "error": finished.error,
            **finished.guarded(),
            "lastSeq": finished.last_seq + 1,
            "endedAt": finished.ended_at,
            **marks,
        }
        return await self._write_end(finished.workspace, finished.turn_id, finished.attempt, fields)

    # --- by history itself

    async def end(self, record: TurnRecord, verdict: Verdict) -> bool:
        """Raises the attempt, so that no worker can write any more, and ends the turn with the text that its log has.

        False: the turn has changed since `record` was read. Raises ApiError, RedisError or OSError while a store is
        away.
        """
        now = datetime.now(UTC)
        frames = await frames_of(self._logs, record)
        answer = partial_answer(written_of(frames), now)
        spent, used = await self.lost.at_end(record, frames)
        output = (answer,) if answer is not None else ()
        timing = timing_of(record, now)
        fields = {
            **ending(verdict, record.attempt, now),
            "output": [message.wire() for message in output],
            "timing": timing.wire(),
            **spent,
            **unbilled(record.check is not None),
            **end_event(self._subscriptions, record, verdict.status),
            **self._words.mark(record),  # The record may be without its question.
        }
        # First here too: once the turn has ended, nobody repeats what an interruption leaves undone.
        await self._count(record)
        try:
            ended = await self._write_end(record.workspace, record.id, record.attempt, fields)
        except Unstorable:
            output = ()  # The text in the log is too large to be stored with its question.
            ended = await self._write_end(record.workspace, record.id, record.attempt, {**fields, "output": []})
        if not ended:
            return False
        self._counts.count(record, verdict.status, verdict.code, used)
        log.info("turn_ended_by_history", turn_id=record.id, status=verdict.status, code=verdict.code)
        update = {
            "status": verdict.status,
            "finish_reason": fields["finishReason"],
            "timing": timing,
            "error": fields["error"],
        }
        await self.places.give_back(record.id, record.places)
        await self._gate.ended(account_of(record), now, used)
        await self._publish_own_end(
            record.workspace, record.turn().model_copy(update=update), output, record.attempt + 1
        )
        return True

    async def end_unreadable(self, row: Document, verdict: Verdict) -> None:
        """Ends an active turn whose document cannot be read as a TurnRecord. It has no answer.

        Raises ApiError, RedisError or OSError while a store is away.
        """
        now, workspace, turn_id = datetime.now(UTC), str(row.get("workspace", "")), str(row["_id"])
        attempt = row["attempt"] if isinstance(row.get("attempt"), int) else 0
        fields = {**ending(verdict, attempt, now), "output": []}
        fields |= unbilled("check" in row or not isinstance(row.get("agentId"), str))
        n, session_id = row.get("n"), row.get("sessionId")
        if isinstance(n, int) and isinstance(session_id, str):
            session = {"_id": session_id, "workspace": workspace, "status": one_of(("active", "ended"))}
            if not await self._sessions.update(session, {"$max": {"turnCount": n}}):
                await self._marks.add(workspace, session_id)
        where = {"_id": turn_id, "workspace": workspace, "active": True}
        if not await self._turns.update(where, {"$set": {**fields, "active": False}}):
            return
        TURNS_FINISHED.labels(verdict.status).inc()
        log.error("unreadable_turn_ended", turn_id=turn_id, code=verdict.code)
        turn = Turn(
            id=turn_id, status=verdict.status, agent_id="", agent_version=0, error=fields["error"], created_at=now
        )
        await self._publish_own_end(workspace, turn, (), attempt + 1)

    async def stop(self, record: TurnRecord) -> None:
        """Cancels an active turn: its worker gets a signal; without a worker the turn ends here.

        The reconciler repeats what fails.
        """
        await self._turns.update(
            {"_id": record.id, "workspace": record.workspace, "active": True}, {"$set": {"cancelRequested": True}}
        )
        try:
            if not (await self._queue.job_status(record.id) == "alone" and await self.end(record, CANCELLED)):
                await self._queue.signal_cancel(record.id)
        except (RedisError, OSError) as error:
            log.warning("cancel_delayed", turn_id=record.id, error=type(error).__name__)

    # --- with their session

    async def signal_session(self, workspace: str, session_id: str) -> None:
        """Tells the session's readers of a change that is stored. If this is lost, they find it at a heartbeat."""
        try:
            await self._logs.signal_session(workspace, session_id)
        except (RedisError, OSError) as error:
            log.warning("session_not_rung", session_id=session_id, error=type(error).__name__)

    async def stop_session(self, workspace: str, session_id: str) -> None:
        record = await self.active_of(workspace, session_id)
        if record is not None:
            await self.stop(record)

    async def active_of(self, workspace: str, session_id: str) -> TurnRecord | None:
        row = await self._turns.one({"workspace": workspace, "sessionId": session_id, "active": True}, WITHOUT_TEXT)
        return record_of(row)

    # --- shared steps

    async def _record(self, workspace: str, turn_id: str, fields: Fields = WITHOUT_TEXT) -> TurnRecord | None:
        where = {"_id": turn_id, "workspace": workspace, USAGE_ONLY: None}
        return record_of(await self._turns.one(where, fields))

    async def _count(self, record: TurnRecord | None) -> None:
        """Counts the turn in its session. Before that, a reader of the session finds its active turn instead.

        A turn's admission, for which a user waits, therefore needs no second write. A repeat changes nothing.
        A turn that slipped into a deleted session is erased: the mark is there before the turn's end.
        """
        if record is not None and record.session_id is not None:
            where = {"_id": record.session_id, "workspace": record.workspace, "status": one_of(("active", "ended"))}
            counters = {"turnCount": record.n, "lastMessageAt": record.created_at}
            change: Document = {"$max": counters, "$unset": {"emptySince": ""}}
            if record.hidden:
                # A repeat must not bring an earlier branch back.
                where["turnCount"] = up_to(record.n)
                change["$set"] = {"hidden": [list(each) for each in record.hidden]}
            if not await self._sessions.update(where, change):
                await self._marks.add(record.workspace, record.session_id)

    async def _write_end(self, workspace: str, turn_id: str, attempt: int, fields: dict[str, Any]) -> bool:
        change: Document = {"$set": {**fields, "active": False}}
        if releases_key(fields["error"]):
            change["$unset"] = {"idempotencyKey": "", "retryKey": ""}
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt}
        return await self._turns.update(mine, change)

    async def _publish(self, workspace: str, turn: Turn, output: tuple[TurnMessage, ...], frame_id: FrameId) -> None:
        """Appends the terminal frame to the log.

        It is the client's receipt, so the document is always written first.
        """
        event, data = terminal_frame(turn, output)
        await self._logs.append_terminal(workspace, turn.id, frame_id, event, data, turn.session_id)

    async def _publish_own_end(self, workspace: str, turn: Turn, output: tuple[TurnMessage, ...], attempt: int) -> None:
        """The end is stored: without Redis, readers learn it at their next heartbeat; a leftover job does nothing."""
        try:
            await self._publish(workspace, turn, output, FrameId(attempt, 1))
            await self._queue.forget(turn.id)
        except (RedisError, OSError) as error:
            log.warning("end_not_published", turn_id=turn.id, error=type(error).__name__)
