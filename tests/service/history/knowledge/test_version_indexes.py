"""Search indexes of versions: built while a version is prepared, kept as blobs, fetched by workers, erased."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.agent_worker.ingest.index_builds import index_builds
from services.agent_worker.knowledge.current import CurrentRetriever
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.index_blobs import IndexBlobs
from services.agent_worker.knowledge.index_files import PART
from services.agent_worker.knowledge.retriever import VersionKey
from shared.contracts.agent_records import DraftPatch
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.indexes import IndexOutcome
from tests.conftest import eventually
from tests.service.history.conftest import history
from tests.service.history.knowledge.conftest import knowledge
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import WORKSPACE, History

__all__ = ["history", "knowledge"]


class Worker:
    """As much of a worker as answers from knowledge. `loads` counts the versions that it had to build an index of."""

    def __init__(self, history: History, directory: Path) -> None:
        self.loads = 0
        self._history = history
        self.directory = directory
        words = Fts5Retriever(self._load, directory, store=IndexBlobs(history.client))
        url = history.dependencies.settings.stream_urls[0]
        self.retriever = CurrentRetriever(words, history.client, url, [words])

    async def _load(self, version: VersionKey) -> list[Passage]:
        self.loads += 1
        return await self._history.client.passages(*version[:3])

    async def ask(self, knowledge: Knowledge, number: int, query: str = "garden") -> list[str]:
        key = VersionKey(WORKSPACE, knowledge.agent_id, number)
        return [passage.text for passage in await self.retriever.search(key, query, 4)]

    async def files(self) -> list[str]:
        return await asyncio.to_thread(lambda: sorted(path.name for path in self.directory.iterdir()))


@asynccontextmanager
async def worker(history: History, directory: Path) -> AsyncIterator[Worker]:
    made = Worker(history, directory)
    made.retriever.start()
    try:
        yield made
    finally:
        await made.retriever.close()


@asynccontextmanager
async def building(history: History, directory: Path) -> AsyncIterator[Worker]:
    async with worker(history, directory) as made:
        builds = index_builds(history.client, made.retriever, lease_s=5.0)
        builds.start()

        async def is_there() -> bool:
            return bool(await history.queue.exists("parley:knowledge:builder"))

        await eventually(is_there, what="the sign of an ingest worker")
        try:
            yield made
        finally:
            await builds.drain()


async def blobs(history: History) -> list[str]:
    rows = await history.documents["blobs.files"].find({}).to_list(None)
    return [row["_id"] for row in rows if ":idx_" in row["_id"]]


async def test_the_first_question_after_publishing_builds_nothing(knowledge: Knowledge, tmp_path: Path) -> None:
    history = knowledge.history
    async with building(history, tmp_path / "ingest"), worker(history, tmp_path / "turns") as turns:
        await knowledge.ended(await knowledge.text("The garden opens at nine."))
        version = await knowledge.publish()
        assert version.index == "built"
        assert await turns.ask(knowledge, version.number) == ["The garden opens at nine."]
        assert turns.loads == 0


async def test_equal_sets_of_two_versions_are_built_once(knowledge: Knowledge, tmp_path: Path) -> None:
    history = knowledge.history
    async with building(history, tmp_path / "ingest"):
        await knowledge.ended(await knowledge.text("The garden opens at nine."))
        await knowledge.publish()
        patch = {"patch": {"instructions": "Be kind."}}
        await history.client.patch_draft(WORKSPACE, knowledge.agent_id, DraftPatch.model_validate(patch))
        second = await knowledge.publish()
        assert (second.number, second.index) == (2, "built")
        assert len(await blobs(history)) == 1


async def test_without_an_ingest_worker_the_first_question_builds_the_index_for_all_workers(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    history = knowledge.history
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    version = await knowledge.publish()
    assert version.index == "first_use"
    async with worker(history, tmp_path / "first") as first:
        assert await first.ask(knowledge, version.number) == ["The garden opens at nine."]

        async def is_stored() -> bool:
            return len(await blobs(history)) == 1

        await eventually(is_stored, what="the stored index")
    async with worker(history, tmp_path / "second") as second:
        assert await second.ask(knowledge, version.number) == ["The garden opens at nine."]
        assert (first.loads, second.loads) == (1, 0)


async def test_a_purged_source_is_answered_from_by_no_worker_and_found_in_no_store(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    history = knowledge.history
    async with (
        building(history, tmp_path / "ingest") as ingest,
        worker(history, tmp_path / "one") as one,
        worker(history, tmp_path / "two") as two,
    ):
        kept = await knowledge.ended(await knowledge.text("The garden opens at nine."))
        secret = await knowledge.ended(await knowledge.text("The garden's code is kumquat."))
        version = await knowledge.publish()
        for each in (one, two):
            assert len(await each.ask(knowledge, version.number)) == 2
        await knowledge.delete(secret, purge=True)

        async def is_forgotten() -> bool:
            answers = [await each.ask(knowledge, version.number) for each in (one, two)]
            return answers == [["The garden opens at nine."]] * 2

        await eventually(is_forgotten, what="workers that answer from what is left")
        assert await knowledge.left_of(secret) == []

        async def is_clean() -> bool:
            return await _files_with(b"kumquat", tmp_path) == []

        await eventually(is_clean, what="disks without the purged text")
        assert ingest.loads == 0

        async def is_built_again() -> bool:
            return len(await blobs(history)) == 1

        await eventually(is_built_again, what="the index of what is left")
    assert await knowledge.left_of(kept) != []


async def _files_with(text: bytes, directory: Path) -> list[Path]:
    def found() -> list[Path]:
        return [path for path in directory.rglob("*") if path.is_file() and text in path.read_bytes()]

    return await asyncio.to_thread(found)


async def test_a_worker_that_missed_the_notice_finds_the_change_when_it_looks(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    history = knowledge.history
    source = await knowledge.ended(await knowledge.text("The garden's code is kumquat."))
    version = await knowledge.publish()
    async with worker(history, tmp_path) as deaf:
        deaf.retriever.deliver = lambda message: None  # type: ignore[method-assign]
        assert len(await deaf.ask(knowledge, version.number)) == 1
        await knowledge.delete(source, purge=True)
        await deaf.retriever.check()
        assert await deaf.ask(knowledge, version.number) == []
        await deaf.retriever.check()

        async def is_clean() -> bool:
            return await _files_with(b"kumquat", tmp_path) == []

        await eventually(is_clean, what="a disk without the purged text")


async def test_a_deleted_agent_keeps_no_index(knowledge: Knowledge, tmp_path: Path) -> None:
    history = knowledge.history
    async with building(history, tmp_path / "ingest"):
        await knowledge.ended(await knowledge.text("The garden opens at nine."))
        await knowledge.publish()
        assert len(await blobs(history)) == 1
        await history.client.delete_agent(WORKSPACE, knowledge.agent_id, "key_1")
        assert await blobs(history) == []
        assert await history.documents.indexes.find({}).to_list(None) == []


async def test_bytes_that_arrive_changed_are_no_index(knowledge: Knowledge) -> None:
    history = knowledge.history
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    version = await knowledge.publish()
    name = (WORKSPACE, knowledge.agent_id, version.number)
    key = (await history.client.version_knowledge(*name)).key

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half of it"

    digest = hashlib.sha256(b"all of it").hexdigest()
    with pytest.raises(ApiError) as caught:
        await history.client.store_index(name, key, PART, digest, pieces())
    assert caught.value.code is Code.VALIDATION_FAILED
    assert (await history.client.version_knowledge(*name)).parts == {}
    assert await blobs(history) == []


async def test_a_worker_refuses_a_stored_index_that_is_damaged(knowledge: Knowledge, tmp_path: Path) -> None:
    history = knowledge.history
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    version = await knowledge.publish()
    async with worker(history, tmp_path / "first") as first:
        await first.ask(knowledge, version.number)

        async def is_stored() -> bool:
            return len(await blobs(history)) == 1

        await eventually(is_stored, what="the stored index")
    (chunk,) = [row async for row in history.documents["blobs.chunks"].find({}) if ":idx_" in row["files_id"]]
    data = bytes(chunk["data"])
    await history.documents["blobs.chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"data": data[:-1] + b"?"}})
    async with worker(history, tmp_path / "second") as second:
        assert await second.ask(knowledge, version.number) == ["The garden opens at nine."]
        assert second.loads == 1


async def test_a_build_whose_worker_dies_is_built_by_the_next_one_and_the_dead_ones_result_is_refused(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    history = knowledge.history
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    version = await knowledge.publish()
    dead = await history.client.claim_index(0.001)
    assert dead is not None
    async with building(history, tmp_path / "ingest"):

        async def is_built() -> bool:
            found = await history.client.version_record(WORKSPACE, knowledge.agent_id, version.number)
            return found.index == "built"

        await eventually(is_built, what="a built index")
    assert not await history.client.finish_index(dead, IndexOutcome(attempt=dead.attempt, state="built"))


async def test_the_blob_of_an_upload_whose_process_died_is_erased(knowledge: Knowledge) -> None:
    history = knowledge.history

    async def pieces() -> AsyncIterator[bytes]:
        yield b"never named by an index"

    await history.dependencies.database.blobs.put(f"{WORKSPACE}:idx_lost", pieces())
    await history.dependencies.nouns.indexes.erase_abandoned(f"{WORKSPACE}:idx_lost")
    assert await blobs(history) == []


async def test_a_build_that_fails_again_and_again_does_not_hold_the_version_for_ever(knowledge: Knowledge) -> None:
    history = knowledge.history
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    assert await history.client.claim_index(5.0) is None  # The sign of an ingest worker.
    publishing = asyncio.create_task(knowledge.publish())

    async def is_given_up() -> bool:
        if (job := await history.client.claim_index(60.0)) is not None:
            await history.client.finish_index(job, IndexOutcome(attempt=job.attempt, state="requeued"))
        rows = await history.documents.indexes.find({}).to_list(None)
        return [row.get("state") for row in rows] == ["failed"]

    await eventually(is_given_up, what="a build that is given up")
    assert (await publishing).index == "first_use"
