"""Search indexes of versions: looked up, fetched, stored, and the queue of those that have to be built."""

from collections.abc import AsyncIterator
from typing import BinaryIO

from shared.contracts.indexes import (
    CurrentSets,
    IndexJob,
    IndexLease,
    IndexOutcome,
    LookUpSets,
    VersionKnowledge,
)
from shared.history_api.transport import Transport


class IndexCalls(Transport):
    async def version_knowledge(self, workspace: str, agent_id: str, number: int) -> VersionKnowledge:
        """Raises `agent_not_found`."""
        return VersionKnowledge.model_validate(await self._get(f"{_version(workspace, agent_id, number)}/knowledge"))

    async def current_sets(self, order: LookUpSets) -> CurrentSets:
        return CurrentSets.model_validate(await self._post("/indexes/current", order.wire()))

    async def fetch_index(self, workspace: str, key: str, part: str, file: BinaryIO) -> None:
        """Writes the part into the file. Raises `not_found`."""
        await self._download(f"/workspaces/{workspace}/indexes/{key}/{part}", file)

    async def store_index(
        self, version: tuple[str, str, int], key: str, part: str, digest: str, content: AsyncIterator[bytes]
    ) -> None:
        """Raises `not_found` when the version has another set by now, `validation_failed` for other bytes."""
        await self._upload(f"{_version(*version)}/indexes/{part}?key={key}&digest={digest}", content)

    async def claim_index(self, lease_s: float) -> IndexJob | None:
        """None: nothing has to be built."""
        found = await self._post("/index-builds/claims", {"leaseS": lease_s})
        return IndexJob.model_validate(found) if found is not None else None

    async def renew_index(self, job: IndexJob, lease_s: float) -> bool:
        """False: the lease is lost."""
        order = IndexLease(attempt=job.attempt, lease_s=lease_s)
        return bool((await self._post(f"{_build(job)}/renew", order.wire()))["held"])

    async def finish_index(self, job: IndexJob, outcome: IndexOutcome) -> bool:
        """False: the lease was lost."""
        return bool((await self._post(f"{_build(job)}/finish", outcome.wire()))["held"])


def _version(workspace: str, agent_id: str, number: int) -> str:
    return f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}"


def _build(job: IndexJob) -> str:
    return f"/workspaces/{job.workspace}/index-builds/{job.key}"
