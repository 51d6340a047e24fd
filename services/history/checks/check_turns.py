"""The turns of checks: ordinary turns, marked with their run, so that they are in no list and count in no statistics.

The turns of one check share a session id, so that later steps have the context of earlier ones. There is no session
document behind it: no caller can find it, and MongoDB deletes its turns when they are old.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError

from services.history.agents.variables import refuse_missing, texts_of, used_names, values_for
from services.history.agents.versions import Versions
from services.history.checks.judge import JUDGE_ID, Judge, question
from services.history.checks.run_record import Progress, RunRecord, session_id
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, one_of
from services.history.settings import HistorySettings
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.new_turn import Target, new_turn
from services.history.turns.record import TurnRecord
from shared.contracts.checks import Check
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import AdmitTurn
from shared.ids import new_id
from shared.log import get_logger
from shared.turn_queue.queue import TurnQueue

log = get_logger()


class CheckTurns:
    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        versions: Versions,
        finalizer: TurnFinalizer,
        judge: Judge | None,
        settings: HistorySettings,
    ) -> None:
        self._turns = database.turns
        self._queue = queue
        self._versions = versions
        self._finalizer = finalizer
        self._judge = judge
        self._keep = timedelta(seconds=settings.completion_keep_s)

    async def read(self, workspace: str, ids: Iterable[str]) -> dict[str, TurnRecord]:
        """A turn that cannot be read is left out: the reconciler ends it, and its check runs out of time."""
        found: dict[str, TurnRecord] = {}
        for row in await self._turns.many({"_id": one_of(sorted(ids)), "workspace": workspace}):
            try:
                found[row["_id"]] = TurnRecord.model_validate(row)
            except ValueError:
                log.warning("check_turn_unreadable", turn_id=row["_id"])
        return found

    async def cancel(self, record: TurnRecord) -> None:
        if record.active:
            await self._finalizer.stop(record)

    async def admit(self, run: RunRecord, place: int) -> None:
        """The turn that a check of the run waits for. May be repeated: its id is always the same.

        Raises ApiError: retryable while a store is away, not retryable if the turn can never be made.
        """
        check, progress = run.checks()[place], run.progress[place]
        document = await self._document(run, place, check, progress)
        document |= {"check": run.id, "expiresAt": datetime.now(UTC) + self._keep}
        try:
            await self._turns.insert(document)
        except Duplicate:
            return
        try:
            await self._queue.enqueue(TurnRecord.model_validate(document).job())
        except (RedisError, OSError) as error:
            # The reconciler enqueues every active turn that has no job.
            log.warning("check_enqueue_delayed", turn_id=document["_id"], error=type(error).__name__)

    async def _document(self, run: RunRecord, place: int, check: Check, progress: Progress) -> Document:
        if progress.judging is not None:
            return self._judges_turn(run, check, progress)
        step, session = len(progress.steps), session_id(run.id, place)
        target = Target(run.agent_id, run.version, step + 1)
        target = target._replace(variables=await self._variables(run, check, session))
        order = _order(progress, check.steps[step].user, session)
        return new_turn(run.workspace, order, target, step + 1)

    def _judges_turn(self, run: RunRecord, check: Check, progress: Progress) -> Document:
        if self._judge is None:
            raise ApiError(Code.VALIDATION_FAILED, "This server has no model that judges rubrics.")
        step = len(progress.steps)
        rubric = check.steps[step - 1].expect[progress.judging or 0].rubric or ""
        users = [step.user for step in check.steps[:step]]
        order = _order(progress, question(rubric, users, progress.steps), None)
        return new_turn(run.workspace, order, Target(JUDGE_ID, self._judge.version), 0)

    async def _variables(self, run: RunRecord, check: Check, session: str) -> dict[str, str] | None:
        config = (await self._versions.read(run.workspace, run.agent_id, run.version)).config
        if not used_names(config):
            return None
        now = datetime.now(UTC)
        values = values_for(config, check.metadata, None, agent_id=run.agent_id, session_id=session, now=now)
        refuse_missing(texts_of(config), values)
        return values


def _order(progress: Progress, text: str, session: str | None) -> AdmitTurn:
    message = TurnMessage(id=new_id("msg"), role="user", content=text, created_at=datetime.now(UTC))
    return AdmitTurn(turn_id=progress.turn_id or "", session_id=session, messages=(message,), body_digest="check")
