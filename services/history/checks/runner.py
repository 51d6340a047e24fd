"""The runner drives every run that has not ended. History's reconciler calls it; every history process may run it.

A round reads a run and the turns that it waits for, decides without I/O what comes next, writes the decision if the run
has not changed meanwhile, and only then admits the turns that the decision names. Their ids are made of the run's, so
that a repeat after a kill meets its own turns.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from services.history.agents.agents import Agents
from services.history.checks.check_turns import CheckTurns
from services.history.checks.progress import Decision, decide, failed
from services.history.checks.run_record import Progress, RunRecord, digest_of, run_of
from services.history.metrics import CHECKS_ENDED
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from services.history.mongo.migrations import is_newer
from services.history.settings import HistorySettings
from services.history.turns.record import TurnRecord
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()

DELETED = "The agent was deleted."
CHANGED = "The draft was changed while its checks ran. Run them again."


Resume = Callable[[str, str], Awaitable[None]]
"""Goes on with the versions of a workspace's agent that wait for checks."""


class Runner:
    def __init__(
        self, database: Database, agents: Agents, turns: CheckTurns, settings: HistorySettings, resume: Resume
    ) -> None:
        self._runs = database.check_runs
        self._agents = agents
        self._turns = turns
        self._resume = resume
        self._concurrency = settings.checks_concurrency

    async def reconcile(self, limit: int = 100) -> None:
        """One round over the oldest runs that have not ended. Raises ApiError, RedisError or OSError in an outage."""
        rows = await self._runs.many({"active": True}, order=[("_id", 1)], limit=limit)
        runs = [run for row in rows if (run := await self._readable(row)) is not None]
        room = self._concurrency - sum(_running(run.progress) for run in runs)
        for run in runs:
            before = _running(run.progress)
            after = await self._advance(run, max(0, room))
            room -= after - before

    async def _readable(self, row: Document) -> RunRecord | None:
        """A run that cannot be read ends as failed: it must not hold up the others, nor run for ever."""
        try:
            run = run_of(row)
            if len(run.checks()) == len(run.progress):
                return run
        except ValueError:
            # A newer release may have written it, and can read it.
            if is_newer("check_runs", row):
                return None
        log.error("check_run_unreadable", run_id=row["_id"])
        empty = {"suite": '{"checks":[]}', "progress": [], "state": "failed", "endedAt": datetime.now(UTC)}
        await self._runs.update({"_id": row["_id"], "active": True}, {"$set": empty, "$unset": {"active": ""}})
        return None

    async def _advance(self, run: RunRecord, room: int) -> int:
        """How many of the run's checks have a turn now."""
        turns = await self._turns.read(run.workspace, [check.turn_id for check in run.progress if check.turn_id])
        ended = {turn.id: turn.stored() for turn in turns.values() if not turn.active}
        decision = decide(run, ended, datetime.now(UTC), room=room, problem=await self._problem(run))
        for turn_id in decision.cancel:
            if turn_id in turns:
                # Before the decision is written: afterwards nobody would look for this turn any more.
                await self._turns.cancel(turns[turn_id])
        if decision.progress != run.progress:
            changed = await self._write(run, decision)
            if changed is None:
                return _running(run.progress)
            run = changed
        await self._admit_missing(run, turns)
        return _running(run.progress)

    async def _write(self, run: RunRecord, decision: Decision) -> RunRecord | None:
        """None: another process was faster, and goes on."""
        states = [check.state for check in decision.progress]
        change: Document = {"progress": [check.wire() for check in decision.progress], "seq": run.seq + 1}
        update: Document = {"$set": change}
        if not {"waiting", "running"} & set(states):
            change |= {"state": "failed" if "failed" in states else "passed", "endedAt": datetime.now(UTC)}
            update["$unset"] = {"active": ""}
        where = {"_id": run.id, "workspace": run.workspace, "seq": run.seq}
        if not await self._runs.update(where, update):
            return None
        for before, after in zip(run.progress, decision.progress, strict=True):
            if after.state != before.state and after.state in ("passed", "failed"):
                CHECKS_ENDED.labels(after.state).inc()
        if "state" in change:
            log.info("check_run_ended", run_id=run.id, state=change["state"], version=run.version)
            if run.version:
                await self._resume_versions(run)
        return run.model_copy(update={"progress": decision.progress, "seq": run.seq + 1})

    async def _resume_versions(self, run: RunRecord) -> None:
        """The version that waits for this run. Without this, the reconciler asks for it when it is seconds old."""
        try:
            await self._resume(run.workspace, run.agent_id)
        except ApiError as error:
            log.warning("version_not_resumed", run_id=run.id, error=str(error.code))

    async def _admit_missing(self, run: RunRecord, turns: dict[str, TurnRecord]) -> None:
        progress = list(run.progress)
        for place, check in enumerate(run.progress):
            if check.turn_id is None or check.turn_id in turns:
                continue
            try:
                await self._turns.admit(run, place)
            except ApiError as error:
                if error.retryable:
                    raise
                progress[place] = failed(check, _reason(error))
        if tuple(progress) != run.progress:
            await self._write(run, Decision(tuple(progress), ()))

    async def _problem(self, run: RunRecord) -> str | None:
        try:
            if run.draft_digest is None:
                return None if await self._agents.is_there(run.workspace, run.agent_id) else DELETED
            agent = await self._agents.document(run.workspace, run.agent_id)
        except ApiError as error:
            if error.code is not Code.AGENT_NOT_FOUND:
                raise
            return DELETED
        return None if digest_of(agent["draft"]) == run.draft_digest else CHANGED


def _running(progress: tuple[Progress, ...]) -> int:
    return sum(check.turn_id is not None for check in progress)


def _reason(error: ApiError) -> str:
    faults = "; ".join(f"{fault['field']} {fault['message']}" for fault in error.errors)
    return f"The turn cannot be made: {error.detail}" + (f" {faults}" if faults else "")
