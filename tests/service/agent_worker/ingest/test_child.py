"""The child process that extracts ends within its limits, whatever it is given, and its parent never notices."""

import asyncio
from pathlib import Path

import pytest

from services.agent_worker.ingest.blocks import Unreadable
from services.agent_worker.ingest.child import ChildCrashed, Limits, extract_in_child
from tests.conftest import eventually
from tests.unit.agent_worker.ingest.documents import docx, given, paragraph


async def extracted(tmp_path: Path, name: str, raw: bytes, limits: Limits | None = None) -> list[str]:
    path = tmp_path / "content"
    path.write_bytes(raw)
    found = await extract_in_child([given(path, name)], tmp_path, limits or Limits())
    return [row["text"] for row in found.passages()]


async def test_a_document_is_read_in_another_process(tmp_path: Path) -> None:
    raw = docx(paragraph("Warranty", "Heading1") + paragraph("It lasts seven years."))
    assert await extracted(tmp_path, "a.docx", raw) == ["It lasts seven years."]


async def test_more_memory_than_allowed_ends_with_a_reason(tmp_path: Path) -> None:
    page = b"<p>word</p>" * (2 << 20)
    with pytest.raises(Unreadable, match="memory"):
        await extracted(tmp_path, "a.html", page, Limits(memory_bytes=200 << 20))


async def test_more_time_than_allowed_ends_with_a_reason_and_the_loop_stays_free(tmp_path: Path) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.02)

    beating = asyncio.create_task(beat())
    try:
        with pytest.raises(Unreadable, match="too long"):
            await extracted(tmp_path, "a.txt", b"word. " * (4 << 20), Limits(cpu_s=1, time_s=60.0))
    finally:
        beating.cancel()
    assert beats > 5


async def test_more_text_than_allowed_ends_with_a_reason(tmp_path: Path) -> None:
    raw = b"".join(b"Line %d of the file has some words.\n\n" % number for number in range(20_000))
    with pytest.raises(Unreadable, match="too much text"):
        await extracted(tmp_path, "a.txt", raw, Limits(output_bytes=64 << 10))


async def test_a_line_of_5_mib_is_cut_and_one_of_25_mib_has_too_much_text(tmp_path: Path) -> None:
    texts = await extracted(tmp_path, "a.txt", b"x" * (5 << 20))
    assert max(map(len, texts)) < 10_000
    assert sum(text.count("x") for text in texts) >= 5 << 20
    with pytest.raises(Unreadable, match="too much text"):
        await extracted(tmp_path, "a.txt", b"x" * (25 << 20))


async def test_a_child_that_is_killed_is_no_verdict_on_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.agent_worker.ingest.child.sys.executable", "/bin/false")
    with pytest.raises(ChildCrashed):
        await extracted(tmp_path, "a.txt", b"Hello there.")


async def test_a_cancelled_extraction_leaves_no_child(tmp_path: Path) -> None:
    reading = asyncio.create_task(extracted(tmp_path, "a.txt", b"word. " * (4 << 20)))
    await asyncio.sleep(0)
    children = Path("/proc/self/task").glob("*/children")

    def has_child() -> bool:
        return any(path.read_text().strip() for path in children) or (tmp_path / "order.json").exists()

    await eventually(has_child, what="a child")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    order = str(tmp_path / "order.json").encode()
    left = [each for each in Path("/proc").glob("[0-9]*/cmdline") if order in _read(each)]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
