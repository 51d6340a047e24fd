"""What people see while a source is being read: pages and passages, before its end."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from services.agent_worker.ingest import extraction
from services.agent_worker.ingest.progress import FILE, ReadingProgress, report
from services.agent_worker.ingest.reader import BATCH
from shared.contracts.agents import Passage
from shared.history_client import HistoryClient
from tests.conftest import eventually
from tests.service.history.conftest import history
from tests.service.history.knowledge.conftest import knowledge
from tests.service.history.knowledge.sources import Knowledge
from tests.unit.agent_worker.ingest.documents import given, pdf

__all__ = ["history", "knowledge"]


def test_the_child_tells_of_pages_and_passages_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, seen = ReadingProgress(tmp_path), list[tuple[int, int]]()

    def told(directory: Path, pages: int, passages: int) -> None:
        report(directory, pages, passages)
        seen.append(progress.now())

    monkeypatch.setattr(extraction, "report", told)
    (tmp_path / "a").write_bytes(pdf(*(f"Page {number}. " + "word " * 350 for number in range(25))))
    pairs = [{"question": f"Question {number}?", "answer": "Yes."} for number in range(250)]
    (tmp_path / "b").write_bytes(orjson.dumps(pairs))
    extraction.extract([given(tmp_path / "a", "a.pdf"), given(tmp_path / "b", faq=True)], tmp_path / "output")
    pages = [10, 20]
    assert [count for count, _ in seen] == [*pages, *[26] * (len(seen) - len(pages))]
    assert [passages for _, passages in seen] == [0, 0, 100, 200]


def test_half_of_a_report_keeps_what_was_known(tmp_path: Path) -> None:
    progress = ReadingProgress(tmp_path)
    assert progress.now() == (0, 0)
    report(tmp_path, 40, 7)
    assert progress.now() == (40, 7)
    (tmp_path / FILE).write_text("5")
    assert progress.now() == (40, 7)
    progress.stored(50, 3)
    assert progress.now() == (50, 3)


async def test_a_source_shows_how_far_it_is_while_it_is_processed(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, released = HistoryClient.add_passages, asyncio.Event()

    async def held(client: HistoryClient, source_id: str, attempt: int, start: int, rows: Sequence[Passage]) -> bool:
        if start:
            await released.wait()
        return await original(client, source_id, attempt, start, rows)

    monkeypatch.setattr(HistoryClient, "add_passages", held)
    text = "\n\n".join(f"# Part {number}\n\n" + "word " * 200 for number in range(BATCH + 50))
    source = await knowledge.file("a.md", text.encode())

    async def is_halfway() -> bool:
        found = await knowledge.get(source)
        return (found.state, found.passages) == ("processing", BATCH)

    try:
        await eventually(is_halfway, within_s=30.0, what="progress in mid-reading")
    finally:
        released.set()
    ended = await knowledge.ended(source)
    assert (ended.state, ended.passages) == ("indexed", BATCH + 50)
