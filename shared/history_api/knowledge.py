"""Knowledge sources, and the queue from which the ingest worker takes them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO

from shared.contracts.agents import Passage
from shared.contracts.knowledge import (
    IngestedPassages,
    IngestJob,
    IngestOutcome,
    IngestProgress,
    NewSource,
    Source,
    SourcePatch,
    StoredContent,
)
from shared.history_api.transport import Transport
from shared.ids import new_id


class KnowledgeCalls(Transport):
    async def upload_source(
        self, workspace: str, agent_id: str, source_id: str, content: AsyncIterator[bytes]
    ) -> StoredContent:
        """Stores a file for `create_source` to refer to. Raises `agent_not_found`, `payload_too_large`."""
        path = f"{_sources(workspace, agent_id)}/{source_id}/content"
        return StoredContent.model_validate(await self._upload(path, content))

    async def create_source(self, workspace: str, agent_id: str, order: NewSource) -> Source:
        """The source, or the one that has the same content already.

        A repetition with a text has another id: a blob has one upload, and that of the first try may be under way.
        """
        again = order.model_copy(update={"id": new_id("src")}) if order.content is not None else order
        found = await self._call("POST", _sources(workspace, agent_id), order.wire(), again=again.wire())
        return Source.model_validate(found)

    async def source_list(self, workspace: str, agent_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [source…], "nextCursor", "counts"}`, newest first."""
        return await self._page(_sources(workspace, agent_id), query)

    async def source(self, workspace: str, agent_id: str, source_id: str) -> Source:
        """Raises `agent_not_found`, `not_found`."""
        return Source.model_validate(await self._get(f"{_sources(workspace, agent_id)}/{source_id}"))

    async def patch_source(self, workspace: str, agent_id: str, source_id: str, order: SourcePatch) -> Source:
        path = f"{_sources(workspace, agent_id)}/{source_id}"
        return Source.model_validate(await self._call("PATCH", path, order.wire()))

    async def retry_source(self, workspace: str, agent_id: str, source_id: str) -> Source:
        return Source.model_validate(await self._post(f"{_sources(workspace, agent_id)}/{source_id}/retry", {}))

    async def delete_source(
        self, workspace: str, agent_id: str, source_id: str, actor: str | None, *, purge: bool = False
    ) -> None:
        path = f"{_sources(workspace, agent_id)}/{source_id}"
        await self._call("DELETE", path, {"actor": actor, "purge": purge})

    async def claim_source(self, lease_s: float) -> IngestJob | None:
        """None: no source waits."""
        found = await self._post("/ingest/claims", {"leaseS": lease_s})
        return IngestJob.model_validate(found) if found is not None else None

    async def source_content(self, job: IngestJob, file: BinaryIO) -> None:
        """Writes the content into the file."""
        await self._download(f"/workspaces/{job.workspace}/ingest/{job.source_id}/content", file)

    async def renew_source(self, source_id: str, progress: IngestProgress) -> bool:
        """False: the lease is lost."""
        return bool((await self._post(f"/ingest/{source_id}/renew", progress.wire()))["held"])

    async def add_passages(self, source_id: str, attempt: int, start: int, passages: Sequence[Passage]) -> bool:
        """False: the lease is lost."""
        batch = IngestedPassages(attempt=attempt, start=start, passages=tuple(passages))
        return bool((await self._post(f"/ingest/{source_id}/passages", batch.wire()))["held"])

    async def finish_source(self, source_id: str, outcome: IngestOutcome) -> bool:
        """False: the lease was lost, and the outcome was not stored."""
        return bool((await self._post(f"/ingest/{source_id}/finish", outcome.wire()))["held"])


def _sources(workspace: str, agent_id: str) -> str:
    return f"/workspaces/{workspace}/drafts/{agent_id}/sources"
