"""The job: claim a turn, run an attempt until it ends or is ended from outside, hand the result over. Never raises."""

import asyncio
from typing import Final

import structlog

from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.metrics import FRAME_BYTES, FRAMES, REQUEUES, TAKE_OVERS
from services.agent_worker.turns.agent_versions import KnownAgent
from services.agent_worker.turns.attempt import Attempt
from services.agent_worker.turns.dependencies import Dependencies
from services.agent_worker.turns.ending import count, finished_turn
from services.agent_worker.turns.start_places import StartPlace, StartPlaces
from services.agent_worker.turns.steps import Fail, Finish
from services.agent_worker.turns.trace import attempt_span, tell_claim, tell_end
from shared.backoff import jittered
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import ClaimedTurn, ClaimTurn, FinishedTurn, StartAttempt, StartedAttempt
from shared.log import get_logger
from shared.metrics import FENCED_WRITES
from shared.run_log.writer import Fenced, TurnWriter
from shared.tasks import end_tasks
from shared.tracing.spans import Span
from shared.turn_queue.job import LeasedJob

log = get_logger()

RELEASE_TIMEOUT_S: Final = 2.0
# A worker that does not shut down can wait for a slow history.
RETURN_TIMEOUT_S: Final = 5.0
# Before a job that failed for a reason that may pass is claimed again.
REQUEUE_S: Final = 1.5
# The model's request goes out first: one step of the event loop makes it, and a second one, a task of aiohttp's,
# writes it.
STEPS_TO_MODEL: Final = 2
# How often history is asked to start an attempt. It answers a repeat with what it has stored, so a late answer costs
# neither the attempt nor the model's output.
START_CALLS: Final = 3
START_AGAIN_S: Final = 0.5


class TurnRunner:
    """What the leased worker calls for each job."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._start_places = StartPlaces()

    async def __call__(self, leased: LeasedJob) -> None:
        """Acknowledges or requeues the job.

        A lost lease cancels this: another worker has the turn, and nothing more is written.
        """
        # Each job has its own task and so its own logging context.
        structlog.contextvars.bind_contextvars(turn_id=leased.job.turn_id)
        if leased.job.request_id:
            # Whoever is called for the turn is told it: history, models, tools, hooks.
            structlog.contextvars.bind_contextvars(request_id=leased.job.request_id)
        try:
            with attempt_span(leased.job) as span:
                async with self._start_places.place() as place:
                    if (claim := await self._claim(leased, place)) is not None:
                        tell_claim(span, claim[0])
                        await self._run(leased, *claim, span, place)
        except Fenced:
            # The next claim asks history whether there is anything left to do.
            log.warning("turn_fenced")
            REQUEUES.labels("fenced").inc()
            await leased.requeue(1.0)
        except Exception:
            log.exception("job_failed")
            REQUEUES.labels("job_failed").inc()
            await leased.requeue(jittered(REQUEUE_S))

    # --- claim

    async def _claim(self, leased: LeasedJob, place: StartPlace) -> tuple[ClaimedTurn, KnownAgent] | None:
        """The turn, from the job's claim snapshot or else from history. None: the job was dropped or requeued."""
        job = leased.job
        key = VersionKey(job.workspace, job.agent_id, job.agent_version)
        known = self._dependencies.agents.get(key)
        if leased.snapshot is not None and known is not None:
            return ClaimedTurn.model_validate_json(leased.snapshot), known
        try:
            claimed = await self._dependencies.history.claim(
                job.workspace, job.turn_id, ClaimTurn(claim_id=leased.claim_id, knows_agent=known is not None)
            )
            if not claimed.run:
                await leased.drop()
                return None
            if claimed.agent is not None:
                known = self._dependencies.agents.put(key, claimed.agent)
            elif known is None:
                known = self._dependencies.agents.put(key, await self._dependencies.history.agent_version(*key[:3]))
        except ApiError as error:
            log.warning("claim_failed", code=error.code)
            if error.status in (404, 410):
                await leased.drop()
            else:
                place.late()
                REQUEUES.labels("claim_failed").inc()
                await leased.requeue(jittered(REQUEUE_S))
            return None
        return claimed, known

    # --- run

    async def _run(
        self, leased: LeasedJob, claimed: ClaimedTurn, known: KnownAgent, span: Span, place: StartPlace
    ) -> None:
        job = leased.job
        writer = self._dependencies.logs.open(job.workspace, job.turn_id, claimed.attempt)
        structlog.contextvars.bind_contextvars(session_id=claimed.session_id, attempt=claimed.attempt)
        started_at = asyncio.get_running_loop().time()
        attempt = Attempt(self._dependencies, job, claimed, known, writer)
        # The model is asked while history records the attempt. Until it has, the attempt writes nothing.
        work = asyncio.create_task(attempt.run() if leased.refusal is None else attempt.refused(leased.refusal))
        try:
            for _ in range(STEPS_TO_MODEL):
                await asyncio.sleep(0)
            try:
                started = await self._start(leased, claimed, place)
            except ApiError as error:
                await end_tasks([work])
                await self._not_started(leased, claimed, attempt, error)
                return
            if not started.started:
                # The lease is lost, or the turn has moved on. The next claim has no snapshot and asks history what
                # there is to do.
                log.warning("attempt_refused")
                REQUEUES.labels("refused").inc()
                await leased.requeue()
                return
            place.started()
            if claimed.attempt > 1:
                TAKE_OVERS.inc()
            attempt.start(started.waited_ms)
            try:
                end = await self._end_of(leased, started, work)
                if end is None:
                    await self._requeue(leased, claimed, attempt)
                else:
                    finished = await self._finish(leased, claimed, attempt, end, started_at, writer)
                    tell_end(span, finished)
            except Fenced:
                await self._tell_use(leased, claimed, attempt)
                raise
        finally:
            # Cancelling closes the connections to the model and to tools. Whatever they still raise is ignored.
            await end_tasks([work])
            writer.close()

    async def _start(self, leased: LeasedJob, claimed: ClaimedTurn, place: StartPlace) -> StartedAttempt:
        """Raises ApiError."""
        job = leased.job
        order = StartAttempt(
            claim_id=leased.claim_id,
            session_id=claimed.session_id,
            admitted_at=claimed.admitted_at,
            attempt=claimed.attempt,
        )
        for calls_left in reversed(range(START_CALLS)):
            try:
                return await self._dependencies.history.start_attempt(job.workspace, job.turn_id, order)
            except ApiError as error:
                place.late()
                if not calls_left or error.code is not Code.DEPENDENCY_UNAVAILABLE:
                    raise
            await asyncio.sleep(jittered(START_AGAIN_S))
        raise AssertionError("the last call returns or raises")

    async def _not_started(self, leased: LeasedJob, claimed: ClaimedTurn, attempt: Attempt, error: ApiError) -> None:
        """History may have stored the start all the same. A turn must not run out of tries because history is slow."""
        log.warning("attempt_not_started", code=error.code)
        REQUEUES.labels("not_started").inc()
        await self._return_try(leased, claimed, attempt, RETURN_TIMEOUT_S)
        await leased.requeue(jittered(REQUEUE_S))

    async def _end_of(
        self, leased: LeasedJob, started: StartedAttempt, work: "asyncio.Task[Finish | Fail]"
    ) -> Finish | Fail | None:
        """How the attempt ends: by itself, by cancellation, by the deadline, or (None) because this worker shuts down.

        The work has ended when this returns, so it writes nothing behind the terminal frame.
        """
        if started.cancel_requested:
            await end_tasks([work])
            return Finish("cancelled")
        cancelled = asyncio.create_task(leased.cancelled.wait())
        must_stop = asyncio.create_task(leased.must_stop.wait())
        tasks = (work, cancelled, must_stop)
        try:
            await asyncio.wait(tasks, timeout=max(0.0, started.remaining_s), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return _result(work)
            if cancelled.done():
                return Finish("cancelled")
            return None if must_stop.done() else Fail(ApiError(Code.TURN_TIMEOUT))
        finally:
            await end_tasks(tasks)

    async def _tell_use(self, leased: LeasedJob, claimed: ClaimedTurn, attempt: Attempt) -> None:
        """Of an attempt that another one has overtaken: its model calls were made all the same."""
        job, uses = leased.job, attempt.stopped().spent.by_model
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._dependencies.history.spend(job.workspace, job.turn_id, claimed.attempt, uses)
        except (ApiError, TimeoutError) as error:
            log.warning("use_not_told", error=type(error).__name__)

    async def _requeue(self, leased: LeasedJob, claimed: ClaimedTurn, attempt: Attempt) -> None:
        await self._return_try(leased, claimed, attempt, RELEASE_TIMEOUT_S)
        await leased.requeue()
        REQUEUES.labels("drain").inc()
        log.info("turn_requeued")

    async def _return_try(self, leased: LeasedJob, claimed: ClaimedTurn, attempt: Attempt, within_s: float) -> None:
        """The try is not counted, if history answers in time."""
        job, uses = leased.job, attempt.stopped().spent.by_model
        try:
            async with asyncio.timeout(within_s):
                await self._dependencies.history.release(job.workspace, job.turn_id, claimed.attempt, uses)
        except (ApiError, TimeoutError) as error:
            log.warning("release_failed", error=type(error).__name__)

    # --- finish

    async def _finish(
        self,
        leased: LeasedJob,
        claimed: ClaimedTurn,
        attempt: Attempt,
        end: Finish | Fail,
        started: float,
        writer: TurnWriter,
    ) -> FinishedTurn:
        attempt.stopped()
        # The terminal frame's number follows that of the attempt's last frame, so that frame must be in the log.
        await writer.flush()
        FRAMES.inc(len(writer.frames))
        FRAME_BYTES.inc(sum(map(len, writer.frames)))
        duration_s = asyncio.get_running_loop().time() - started
        finished = finished_turn(leased.job, claimed.attempt, attempt, end, duration_s, writer.last_seq)
        if not await leased.finish(finished):
            FENCED_WRITES.labels("finish").inc()
            log.warning("finish_fenced")
            await self._tell_use(leased, claimed, attempt)
            return finished
        count(finished, duration_s, check=claimed.check)
        return finished


def _result(work: "asyncio.Task[Finish | Fail]") -> Finish | Fail:
    """Raises Fenced. Any other exception fails the turn for good, because the next attempt would raise it too."""
    try:
        return work.result()
    except Fenced:
        raise
    except Exception:
        log.exception("turn_crashed")
        return Fail(ApiError(Code.TURN_FAILED))
