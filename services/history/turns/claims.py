"""Claims: what a worker that holds a turn's lease gets before it starts an attempt."""

from datetime import UTC, datetime
from typing import Final

from services.history.agents.documents import DRAFT
from services.history.agents.versions import Versions
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from services.history.settings import HistorySettings
from services.history.turns.attempts import remaining_s
from services.history.turns.context import Contexts
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import TurnRecord
from services.history.turns.token_rates import model_of
from services.history.turns.verdicts import OUT_OF_TRIES, TOO_LATE, Verdict
from shared.contracts.turns import ClaimedTurn, ClaimTurn
from shared.turn_queue.queue import TurnQueue

NOTHING_TO_DO: Final = ClaimedTurn(run=False).wire()


class Claims:
    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        versions: Versions,
        contexts: Contexts,
        finalizer: TurnFinalizer,
        settings: HistorySettings,
    ) -> None:
        self._turns = database.turns
        self._queue = queue
        self._versions = versions
        self._contexts = contexts
        self._finalizer = finalizer
        self._max_tries = settings.max_tries
        self._turn_timeout_s = settings.turn_timeout_s

    async def claim(self, workspace: str, turn_id: str, claim: ClaimTurn) -> Document:
        """A ClaimedTurn as JSON values: everything that an attempt needs.

        It only reads, so the model can be called at once. A turn that has no try or no time left is ended instead.
        Raises ApiError, RedisError or OSError while a store is away.
        """
        row = await self._turns.one({"_id": turn_id, "workspace": workspace})
        if row is None:
            return NOTHING_TO_DO
        record = TurnRecord.model_validate(row)
        if not record.active:
            return NOTHING_TO_DO
        now = datetime.now(UTC)
        if record.claim_id != claim.claim_id and (verdict := self._verdict(record, now)) is not None:
            # Only for the holder of the lease: otherwise a result may be on its way, and must not be overruled.
            if await self._queue.holder(record.id) == claim.claim_id:
                await self._finalizer.end(record, verdict)
            return NOTHING_TO_DO
        return await self._claimed(record, claim)

    def _verdict(self, record: TurnRecord, now: datetime) -> Verdict | None:
        if remaining_s(record, now, self._turn_timeout_s) <= 0:
            return TOO_LATE
        return OUT_OF_TRIES if record.tries >= self._max_tries else None

    async def _claimed(self, record: TurnRecord, claim: ClaimTurn) -> Document:
        agent = await self._versions.read(record.workspace, record.agent_id, record.agent_version)
        config = agent.config
        context = await self._contexts.before(
            record.workspace,
            record.session_id,
            record.n,
            config.limits,
            model_of(config),
            guards_input=config.guards_input,
            hidden=record.hidden,
        )
        attempt = record.attempt if record.claim_id == claim.claim_id else record.attempt + 1
        # A draft can change at any time, so a worker's copy of it counts for nothing.
        sent = agent if not claim.knows_agent or record.agent_version == DRAFT else None
        return record.claimed(attempt, context, sent)
