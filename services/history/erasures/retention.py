"""Retention: transcripts are erased when the time that their agent or workspace allows is over.

The reconciler walks through the agents, for a bounded time in each round, and then rests. A changed limit counts for
what is stored already. What was used stays, which is why no TTL index does this.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.agents.documents import DRAFT
from services.history.agents.versions import Versions
from services.history.metrics import RETENTION_ERASED
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.filters import Document, above, below
from services.history.sessions.sessions import Sessions
from services.history.turns.erasure import Erasure
from shared.contracts.errors import ApiError, Code
from shared.ids import id_at
from shared.log import get_logger

log = get_logger()

EVERY_S: Final = 600.0
# A round of the reconciler also looks after turns: retention does not hold it up for longer.
ROUND_S: Final = 1.0
AGENTS_PER_READ: Final = 100
PAGE: Final = 20
_COMPLETIONS: Final = IdField("storedId", "trn")
_AGENT: Final = {"workspace": 1, "agentId": 1, "publishedVersion": 1}


class Retention:
    def __init__(self, database: Database, versions: Versions, sessions: Sessions, erasure: Erasure) -> None:
        self._agents = database.agents
        self._workspaces = database.workspaces
        self._turns = database.turns
        self._rows = database.sessions
        self._versions = versions
        self._sessions = sessions
        self._erasure = erasure
        self._after = ""
        self._due = time.monotonic()

    async def reconcile(self) -> None:
        """Goes on where the round before ended. May be run by several processes."""
        if time.monotonic() < self._due:
            return
        until = time.monotonic() + ROUND_S
        while rows := await self._agents.many(
            {"_id": above(self._after)}, fields=_AGENT, order=[("_id", 1)], limit=AGENTS_PER_READ
        ):
            for row in rows:
                if not await self._apply(row, until):
                    return
                self._after = row["_id"]
        self._after, self._due = "", time.monotonic() + EVERY_S

    async def _apply(self, agent: Document, until: float) -> bool:
        """Whether nothing is left of the agent that is over its time."""
        days = await self._days(agent)
        if days is None:
            return time.monotonic() < until
        before = datetime.now(UTC) - timedelta(days=days)
        of_agent = {"workspace": agent["workspace"], "agentId": agent["agentId"]}
        for erase in (self._erase_sessions, self._erase_completions):
            while count := await erase(of_agent, before):
                if time.monotonic() > until:
                    return False
                log.info("retention_applied", agent_id=agent["agentId"], count=count)
        return True

    async def _days(self, agent: Document) -> int | None:
        """The shorter of the agent's limit and the workspace's. An agent that was never published has its draft's."""
        workspace = await self._workspaces.one({"_id": agent["workspace"]}, {"transcriptDays": 1}) or {}
        number = agent.get("publishedVersion") or DRAFT
        try:
            config = (await self._versions.read(agent["workspace"], agent["agentId"], number)).config
        except ApiError as error:
            if error.code is not Code.AGENT_NOT_FOUND:
                raise
            # It was deleted before it was ever published.
            days: int | None = workspace.get("transcriptDays")
            return days
        given = (config.retention.transcript_days, workspace.get("transcriptDays"))
        return min((days for days in given if days is not None), default=None)

    async def _erase_sessions(self, of_agent: Document, before: datetime) -> int:
        """A session in which a turn runs is in use, whatever its last message's age."""
        count = 0
        for member in ("lastMessageAt", "emptySince"):
            rows = await self._rows.many({**of_agent, member: below(before)}, fields={"_id": 1}, limit=PAGE)
            ids = await self._unused(of_agent["workspace"], [row["_id"] for row in rows])
            for session_id in ids:
                await self._sessions.erase(of_agent["workspace"], session_id)
                RETENTION_ERASED.labels("session").inc()
            count += len(ids)
        return count

    async def _unused(self, workspace: str, ids: Sequence[str]) -> list[str]:
        active = await self._sessions.active_turns(workspace, *ids) if ids else {}
        return [session_id for session_id in ids if session_id not in active]

    async def _erase_completions(self, of_agent: Document, before: datetime) -> int:
        high = id_at(_COMPLETIONS.prefix, int(before.timestamp() * 1000))
        rows, _ = await self._turns.page(of_agent, _COMPLETIONS, "asc", None, PAGE, {"storedId": 1}, high=high)
        for row in rows:
            await self._erasure.erase_completion(of_agent["workspace"], row["_id"])
            RETENTION_ERASED.labels("completion").inc()
        return len(rows)
