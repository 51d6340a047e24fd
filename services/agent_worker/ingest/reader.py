"""Reads one claimed source to its end: its content, its passages, and what history is told."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from services.agent_worker.ingest.blocks import Unreadable
from services.agent_worker.ingest.child import ChildCrashed, Extracted, Limits, extract_in_child
from services.agent_worker.ingest.extraction import Input
from services.agent_worker.ingest.leased_consumer import LeaseLost
from services.agent_worker.ingest.pages import Pages, Unchanged
from services.agent_worker.ingest.progress import ReadingProgress
from services.agent_worker.ingest.trace import source_span, tell_outcome
from services.agent_worker.own_folder import OwnFolder
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import IngestJob, IngestOutcome
from shared.history_client import HistoryClient
from shared.log import get_logger
from shared.tracing.spans import step

log = get_logger()

BATCH: Final = 200
CRASH_DELAY_S: Final = 2.0


class SourceReader:
    def __init__(self, history: HistoryClient, pages: Pages, limits: Limits) -> None:
        self._history = history
        self._pages = pages
        self._limits = limits
        self._progress: dict[str, ReadingProgress] = {}

    def progress(self, job: IngestJob) -> tuple[int, int]:
        """The pages that have been read, and the passages that have been made or, once it is read, stored."""
        found = self._progress.get(job.source_id)
        return found.now() if found is not None else (0, 0)

    async def read(self, job: IngestJob) -> IngestOutcome:
        """Stores the passages; the caller reports the outcome. Raises LeaseLost, and ApiError while history is away."""
        try:
            with source_span(job) as told:
                outcome = await self._read(job)
                tell_outcome(told, outcome)
                return outcome
        finally:
            self._progress.pop(job.source_id, None)

    async def _read(self, job: IngestJob) -> IngestOutcome:
        attempt = job.attempt
        with OwnFolder("parley-ingest-") as folder:
            self._progress[job.source_id] = ReadingProgress(folder.path)
            try:
                with step("read_content"):
                    inputs, etag = await self._content(job, folder.path)
                with step("split_document"):
                    extracted = await extract_in_child(inputs, folder.path, self._limits)
                with step("store_passages"):
                    count = await self._store(job, extracted)
            except Unchanged:
                return IngestOutcome(attempt=attempt, state="unchanged")
            except Unreadable as error:
                return IngestOutcome(attempt=attempt, state="failed", reason=str(error)[:1000])
            except ChildCrashed as error:
                log.warning("extraction_crashed", source_id=job.source_id, error=str(error))
                return IngestOutcome(attempt=attempt, state="requeued", delay_s=CRASH_DELAY_S)
        result = extracted.result
        return IngestOutcome(
            attempt=attempt,
            state="indexed",
            title=result["title"],
            pages=result["pages"],
            passages=count,
            etag=etag,
        )

    async def _content(self, job: IngestJob, directory: Path) -> tuple[list[Input], str | None]:
        """What the child reads, and the entity tag of a URL's answer."""
        if job.kind in ("url", "sitemap"):
            return await self._pages.fetch(job, directory)
        path = directory / "content"
        with path.open("wb") as file:
            try:
                await self._history.source_content(job, file)
            except ApiError as error:
                if error.code is Code.NOT_FOUND:
                    raise Unreadable("Its content is not there any more. Upload it again.") from None
                raise
        given = Input(
            path=str(path),
            name=job.file_name or "",
            content_type=job.content_type,
            charset=None,
            url=None,
            faq=job.kind == "faq",
        )
        return [given], None

    async def _store(self, job: IngestJob, extracted: Extracted) -> int:
        rows = extracted.passages()
        start = 0
        while batch := await asyncio.to_thread(_batch, rows, job):
            if not await self._history.add_passages(job.source_id, job.attempt, start, batch):
                raise LeaseLost
            start += len(batch)
            self._progress[job.source_id].stored(extracted.result["pages"], start)
        return start


def _batch(rows: Iterator[dict[str, Any]], job: IngestJob) -> list[Passage]:
    """`title` stays empty unless the passage's page has its own: a source's title may change later."""
    return [
        Passage(
            source_id=job.source_id,
            title=row.get("title", ""),
            text=row["text"],
            url=row.get("url"),
            heading=" › ".join(row["headingPath"]) or None,
            page=row.get("page"),
        )
        for row in islice(rows, BATCH)
    ]
