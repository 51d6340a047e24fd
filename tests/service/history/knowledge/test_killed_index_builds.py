"""Ingest workers that are killed at every step of an index's build: one index, equal to that of a build in peace."""

import asyncio
import hashlib
import os
import random
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from services.agent_worker.knowledge.index_files import PART, IndexFiles
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_files import VectorFile, part_of
from services.agent_worker.knowledge.vector_store import normalized
from shared.contracts.agents import Passage
from shared.contracts.indexes import IndexPart
from tests.conftest import eventually
from tests.service.agent_worker.knowledge.model_endpoints import ModelEndpoints, model_endpoints, vector_of
from tests.service.history.conftest import history
from tests.service.history.running import TOKEN, WORKSPACE, History, config

__all__ = ["history"]
AGENT = "agt_demo"
POINTS = [
    "claimed",
    "words half uploaded",
    "words stored",
    "texts half embedded",
    "vectors half uploaded",
    "vectors stored",
    "finished",
]
# A build has five tries.
ROUNDS = [POINTS[0::2], POINTS[1::2], "random"]


class Ingest:
    """An ingest worker's process, which is killed at points of history's and the endpoint's work, and started again."""

    def __init__(self, history: History, endpoints: ModelEndpoints, directory: Path) -> None:
        self.points: list[str] = []
        self._history = history
        self._endpoints = endpoints
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        queue: Any = history.dependencies.nouns.index_queue
        indexes: Any = history.dependencies.nouns.indexes
        self._claim, queue.claim = queue.claim, self.claim
        self._finish, queue.finish = queue.finish, self.finish
        self._store, indexes.store = indexes.store, self.store
        endpoints.before_answer = lambda: self._reached("texts half embedded", len(endpoints.batches) % 3 == 2)

    async def claim(self, lease_s: float) -> Any:
        job = await self._claim(lease_s)
        self._reached("claimed", job is not None)
        return job

    async def finish(self, *arguments: Any) -> Any:
        found = await self._finish(*arguments)
        self._reached("finished")
        return found

    async def store(self, *arguments: Any) -> IndexPart:
        *before, content = arguments
        kind = "words" if arguments[4] == PART else "vectors"

        async def watched() -> AsyncIterator[bytes]:
            async for piece in content:
                yield piece[: len(piece) // 2]
                self._reached(f"{kind} half uploaded")
                yield piece[len(piece) // 2 :]

        kept: IndexPart = await self._store(*before, watched())
        self._reached(f"{kind} stored")
        return kept

    def _reached(self, point: str, here: bool = True) -> None:
        if here and self._process is not None and self.points[:1] == [point]:
            self.points.pop(0)
            self._process.kill()

    async def keep_running(self) -> None:
        """Until it is cancelled."""
        settings = self._history.dependencies.settings
        given = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self._directory),
            "PARLEY_PORT": "0",
            "PARLEY_INTERNAL_TOKEN": TOKEN,
            "PARLEY_HISTORY_URL": self._history.base_url,
            "PARLEY_QUEUE_REDIS_URL": settings.queue_redis_url,
            "PARLEY_EMBEDDINGS_BASE_URL": self._endpoints.base_url,
            "PARLEY_EMBEDDINGS_MODEL": "m",
            "PARLEY_INGEST_LEASE_S": "1",
        }
        command = (sys.executable, "-m", "services.agent_worker", "--queue", "ingest")
        try:
            while True:
                with (self._directory / "ingest.log").open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(*command, env=given, stdout=log, stderr=log)
                await self._process.wait()
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()


def passages_of(round_number: int) -> list[Passage]:
    words = ("car", "refund", "open", "dog")
    return [
        Passage(
            id=f"psg_{at}",
            source_id=f"src_{at}",
            title=f"Round {round_number}",
            text=f"{words[at % 4]} {words[at * 7 % 4]} number {at} of round {round_number}.",
        )
        for at in range(200)
    ]


async def part(history: History, key: str, name: str, path: Path) -> Path:
    file = BytesIO()
    await history.client.fetch_index(WORKSPACE, key, name, file)
    await asyncio.to_thread(path.write_bytes, file.getvalue())
    return path


def tables(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM '{name}' ORDER BY 1").fetchall() for name in sorted(names)}


async def orphans(history: History) -> list[str]:
    named = {blob for row in await history.documents.indexes.find({}).to_list(None) for blob in row["blobs"]}
    files = {row["_id"] for row in await history.documents["blobs.files"].find({}).to_list(None)}
    chunks = {row["files_id"] for row in await history.documents["blobs.chunks"].find({}).to_list(None)}
    return sorted((files | chunks) - named)


async def check_equal_to_clean_build(
    history: History, version: VersionKey, passages: list[Passage], directory: Path
) -> None:
    clean = IndexFiles(directory, 1 << 30)
    await asyncio.to_thread(lambda: clean.create(version, passages).close())
    words = await part(history, version.knowledge, PART, directory / "words")
    found, wanted = await asyncio.to_thread(lambda: (tables(words), tables(clean.path(version))))
    assert found == wanted
    vectors = VectorFile.read(await part(history, version.knowledge, part_of("m"), directory / "vectors"))
    assert list(vectors.passages) == passages
    assert vectors.matrix.tolist() == [
        normalized(vector_of(f"{passage.title}\n{passage.text}")).tolist() for passage in passages
    ]


@pytest.mark.long
async def test_a_build_that_is_killed_at_every_step_ends_once_and_leaves_nothing_behind(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    await history.client.put_agent(WORKSPACE, AGENT, config())
    async with model_endpoints() as endpoints:
        ingest = Ingest(history, endpoints, tmp_path)
        running = asyncio.create_task(ingest.keep_running())
        try:
            builder = "parley:knowledge:builder"
            await eventually(lambda: history.queue.exists(builder), within_s=30.0, what="an ingest worker")
            for number, chosen in enumerate(ROUNDS, 1):
                points = sorted(dice.sample(POINTS, 4), key=POINTS.index) if chosen == "random" else list(chosen)
                ingest.points, passages = points.copy(), passages_of(number)
                record = await history.client.publish_agent(WORKSPACE, AGENT, passages)
                assert record.number == number
                await eventually(_is_built(history, ingest, number), within_s=120.0, what=f"version {number}: {points}")
                key = (await history.client.version_knowledge(WORKSPACE, AGENT, number)).key
                version = VersionKey(WORKSPACE, AGENT, number, key)
                folder = tmp_path / hashlib.sha256(key.encode()).hexdigest()
                await check_equal_to_clean_build(history, version, passages, folder)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    rows = await history.documents.indexes.find({}).to_list(None)
    assert [(row["state"], len(row["blobs"]), row.get("waiting")) for row in rows] == [("built", 2, None)] * len(ROUNDS)
    published = await history.documents.audit.find({"action": "agent.published"}).to_list(None)
    assert sorted(row["details"]["version"] for row in published) == [1, 2, 3]
    await history.dependencies.nouns.abandoned.erase(datetime.now(UTC))
    assert await orphans(history) == []


def _is_built(history: History, ingest: Ingest, number: int) -> Callable[[], Any]:
    async def is_so() -> bool:
        found = await history.client.version_record(WORKSPACE, AGENT, number)
        return not ingest.points and (found.state, found.index) == ("published", "built")

    return is_so
