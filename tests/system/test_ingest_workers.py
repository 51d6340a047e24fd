"""Ingest workers that are killed while they read: every source ends once, and the counts add up."""

import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.agent_records import NewAgent, PublishOrder
from shared.contracts.knowledge import NewSource, StoredContent
from shared.history_client import HistoryClient
from shared.ids import new_id
from tests.conftest import eventually
from tests.system.stack import ROOT, Stack
from tests.unit.agent_worker.ingest.documents import docx, paragraph, pdf

WORKSPACE = "demo"
LIMITS = [pytest.param(40, 4, id="short"), pytest.param(300, 10, id="long", marks=pytest.mark.long)]


def document(number: int) -> tuple[str, bytes, bool]:
    """A name, its bytes, and whether they can be read."""
    text = f"Document number {number} tells of the town of Place{number}."
    match number % 6:
        case 0:
            return f"{number}.md", f"# Title {number}\n\n{text}\n".encode(), True
        case 1:
            return f"{number}.html", f"<html><body><h1>T</h1><p>{text}</p></body></html>".encode(), True
        case 2:
            return f"{number}.docx", docx(paragraph(text)), True
        case 3:
            return f"{number}.pdf", pdf(text), True
        case 4:
            return f"{number}.txt", b"\x89PNG" + text.encode(), False
        case _:
            return f"{number}.csv", f"town,number\nPlace{number},{number}\n".encode(), True


async def added(history: HistoryClient, agent_id: str, number: int) -> str:
    name, raw, _ = document(number)

    async def content() -> Any:
        yield raw

    new = new_id("src")
    stored: StoredContent = await history.upload_source(WORKSPACE, agent_id, new, content())
    order = NewSource(id=new, kind="file", file_name=name, stored=stored)
    return (await history.create_source(WORKSPACE, agent_id, order)).id


def started(stack: Stack, environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "services.agent_worker", "--queue", "ingest"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def environment_of(stack: Stack) -> dict[str, str]:
    """That of the stack's own ingest worker, with a short lease."""
    (pid,) = stack.facts["pids"]["ingest"]
    rows = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    found = dict(row.decode().split("=", 1) for row in rows if b"=" in row)
    return {**found, "PARLEY_PORT": "0", "PARLEY_INGEST_LEASE_S": "1.5", "PARLEY_INGEST_CONCURRENCY": "4"}


@pytest.mark.parametrize(("files", "kills"), LIMITS)
async def test_sources_end_once_while_their_workers_are_killed(
    stack: Stack, tmp_path: Path, files: int, kills: int
) -> None:
    environment = environment_of(stack)
    async with stack.history() as history:
        draft = {"name": "Towns", "model": {"name": "demo/extractive"}}
        agent_id = (await history.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=draft))).id
        worker = started(stack, environment, tmp_path / "worker.log")
        try:
            ids = [await added(history, agent_id, number) for number in range(files)]
            for kill in range(kills):
                done = partial(_has_done, history, agent_id, files * kill // (kills + 1))
                await eventually(done, within_s=60.0, what="progress")
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()
                worker = started(stack, environment, tmp_path / "worker.log")
            await eventually(lambda: _has_done(history, agent_id, files), within_s=120.0, what="every source's end")
        finally:
            worker.kill()
            await asyncio.to_thread(worker.wait)
        assert len(set(ids)) == files
        good = sum(document(number)[2] for number in range(files))
        assert await _counts(history, agent_id) == {
            "pending": 0,
            "processing": 0,
            "indexed": good,
            "failed": files - good,
        }
        number = (await history.publish_draft(WORKSPACE, agent_id, PublishOrder())).number
        passages = await history.passages(WORKSPACE, agent_id, number)
        assert sorted(row.source_id for row in passages) == sorted({row.source_id for row in passages})
        assert len(passages) == good


async def _counts(history: HistoryClient, agent_id: str) -> dict[str, int]:
    counts: dict[str, int] = (await history.source_list(WORKSPACE, agent_id, {"limit": "1"}))["counts"]
    return counts


async def _has_done(history: HistoryClient, agent_id: str, count: int) -> bool:
    counts = await _counts(history, agent_id)
    return counts["indexed"] + counts["failed"] >= count
