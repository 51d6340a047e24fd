"""Killed processes and calls that overlap leave nothing of knowledge behind, and take nothing that is needed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from services.history.audit.records import Audit
from services.history.knowledge import sources
from services.history.mongo.filters import Document
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import IngestJob, IngestOutcome, NewSource, Source
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.conftest import history
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import WORKSPACE, History

__all__ = ["history"]
OLD = datetime.now(UTC) - timedelta(hours=2)


@pytest.fixture
async def knowledge(history: History) -> Knowledge:
    """No worker reads: the tests are it."""
    return await Knowledge.of_new_agent(history)


def piece(source: Source, text: str = "A secret that must go.") -> Passage:
    return Passage(source_id=source.id, title="Secrets", text=text)


async def claimed(knowledge: Knowledge, content: str = "A secret that must go.") -> tuple[Source, IngestJob]:
    source = await knowledge.text(content)
    job = await knowledge.history.client.claim_source(60.0)
    assert job is not None
    return source, job


async def read(knowledge: Knowledge, content: str = "A secret that must go.") -> Source:
    """A source with one passage."""
    source, job = await claimed(knowledge, content)
    client = knowledge.history.client
    assert await client.add_passages(source.id, job.attempt, 0, [piece(source, content)])
    assert await client.finish_source(source.id, IngestOutcome(attempt=job.attempt, state="indexed", passages=1))
    return await knowledge.get(source)


async def owners(history: History) -> list[str]:
    return sorted({row["version"] for row in await history.documents.passages.find({}).to_list(None)})


async def test_passages_that_come_while_their_source_is_purged_do_not_stay(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, job = await claimed(knowledge)
    ingest: Any = knowledge.history.dependencies.nouns.ingest
    freeze = ingest._passages.freeze

    async def purge_first(owner: str, passages: Sequence[Passage], *, start: int) -> None:
        await knowledge.delete(source, purge=True)
        await freeze(owner, passages, start=start)

    monkeypatch.setattr(ingest._passages, "freeze", purge_first)
    assert not await knowledge.history.client.add_passages(source.id, job.attempt, 0, [piece(source)])
    assert await knowledge.left_of(source) == []


async def test_passages_that_are_sent_again_after_their_reading_ended_stay(knowledge: Knowledge) -> None:
    """The answer to the first sending was lost, and a version may have the reading by now."""
    source = await read(knowledge)
    number = (await knowledge.publish()).number
    job_attempt = 1
    for delete in (False, True):
        if delete:
            await knowledge.delete(source)
        await knowledge.history.client.add_passages(source.id, job_attempt, 0, [piece(source)])
        assert [row.text for row in await knowledge.passages(number)] == ["A secret that must go."]


async def test_passages_that_nothing_names_are_erased_and_all_others_stay(knowledge: Knowledge) -> None:
    history = knowledge.history
    current = await read(knowledge, "The garden opens at nine.")
    held = await read(knowledge, "The shop opens at eight.")
    await knowledge.publish()
    await knowledge.delete(held)
    waiting, job = await claimed(knowledge, "It is being read.")
    assert await history.client.add_passages(waiting.id, job.attempt, 0, [piece(waiting)])
    await history.publish()
    named = await owners(history)
    assert len(named) == 4
    late = [f"{WORKSPACE}:{source}:9" for source in (current.id, held.id, waiting.id, new_id("src"))]
    for owner in late:
        await history.dependencies.nouns.ingest._passages.freeze(owner, [piece(current)] * 3)
    assert await owners(history) == sorted([*named, *late])
    await history.dependencies.nouns.abandoned.erase(datetime.now(UTC))
    assert await owners(history) == named


async def test_chunks_of_an_upload_whose_process_died_are_erased_and_those_of_one_under_way_stay(
    knowledge: Knowledge,
) -> None:
    history = knowledge.history
    source = await knowledge.text("The garden opens at nine.")
    died, under_way = (f"{WORKSPACE}:{new_id('src')}" for _ in range(2))
    chunks = history.documents["blobs.chunks"]
    for name, began in ((died, OLD), (under_way, datetime.now(UTC))):
        for n in range(3):
            await chunks.insert_one({"_id": _id_of(began, n), "files_id": name, "n": n, "data": b"a secret"})
    await history.dependencies.nouns.abandoned.erase(datetime.now(UTC) - timedelta(hours=1))
    left = {row["files_id"] for row in await chunks.find({}).to_list(None)}
    assert left == {under_way, f"{WORKSPACE}:{source.id}"}


def _id_of(began: datetime, n: int) -> ObjectId:
    """An id whose time is that of the upload, as the driver makes it."""
    return ObjectId(ObjectId.from_datetime(began).binary[:4] + ObjectId().binary[4:11] + bytes([n]))


async def test_a_purge_that_comes_while_old_readings_are_erased_is_gone_on_with(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history marks the source as purged and is killed, while another is about to say that nothing is left to do."""
    history = knowledge.history
    source = await read(knowledge)
    erasure: Any = history.dependencies.nouns.sources._erasure
    held, marked = erasure._held, False

    async def mark_then_look(row: Document) -> set[str]:
        nonlocal marked
        found: set[str] = await held(row)
        if not marked:
            marked = True
            change = {"removed": True, "purge": True, "erasing": True, "updatedAt": datetime.now(UTC)}
            await history.documents.sources.update_one({"_id": source.id}, {"$set": change})
        return found

    monkeypatch.setattr(erasure, "_held", mark_then_look)
    await erasure.erase_unused(source.id)
    assert marked

    async def is_gone() -> bool:
        return not await knowledge.left_of(source)

    await eventually(is_gone, what="the purge")


async def test_an_index_that_is_wanted_for_a_set_that_a_purge_has_just_changed_does_not_stay(
    knowledge: Knowledge,
) -> None:
    history = knowledge.history
    await read(knowledge, "The garden opens at nine.")
    source = await read(knowledge)
    version = await knowledge.publish()
    before = await history.documents.agent_versions.find_one({"number": version.number})
    await knowledge.delete(source, purge=True)
    await history.dependencies.nouns.indexes.is_ready(before)
    key = (await history.client.version_knowledge(WORKSPACE, knowledge.agent_id, version.number)).key
    assert {row["key"] for row in await history.documents.indexes.find({}).to_list(None)} == {key}


async def test_the_audit_entry_of_a_history_that_was_killed_behind_its_change_is_delivered(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = knowledge.history
    deliver, source_id, killed = Audit.deliver, new_id("src"), False

    async def cut_off(self: Audit, documents: Any, row: Document) -> None:
        nonlocal killed
        if row["_id"] == source_id and not killed:
            killed = True
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        await deliver(self, documents, row)

    monkeypatch.setattr(Audit, "deliver", cut_off)
    order = NewSource(id=source_id, kind="text", content="The garden opens at nine.")
    with pytest.raises(ApiError):
        await history.client.create_source(WORKSPACE, knowledge.agent_id, order)

    async def is_audited() -> bool:
        rows = await history.documents.audit.find({"target": source_id}).to_list(None)
        return [row["action"] for row in rows] == ["knowledge.source_added"]

    await eventually(is_audited, what="the audit record")


async def test_a_repeated_order_leaves_the_file_of_its_source_alone(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of the last source that the agent may have."""
    history = knowledge.history
    order = NewSource(id=new_id("src"), kind="text", content="The garden opens at nine.")
    monkeypatch.setattr(sources, "MAX_SOURCES", 1)
    for _ in range(2):
        source = await history.client.create_source(WORKSPACE, knowledge.agent_id, order)
        assert source.id == order.id
        content = await history.dependencies.nouns.sources.content(WORKSPACE, order.id)
        assert b"".join([piece async for piece in content]) == b"The garden opens at nine."


async def test_a_deleted_agent_takes_its_knowledge_with_it_and_another_keeps_its_own(history: History) -> None:
    gone, other = await Knowledge.of_new_agent(history), await Knowledge.of_new_agent(history)
    published, removed, kept = await read(gone), await read(gone, "Another one."), await read(other)
    await gone.publish()
    await gone.delete(removed)  # The version holds it still.
    await history.client.delete_agent(WORKSPACE, gone.agent_id, "key_1")

    async def nothing_is_left() -> bool:
        return [await gone.left_of(each) for each in (published, removed)] == [[], []]

    await eventually(nothing_is_left, what="an erasure by the reconciler")
    assert {"sources", "passages", "blobs.files"} <= set(await other.left_of(kept))
    await history.client.delete_agent(WORKSPACE, gone.agent_id, "key_1")


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_source_that_is_added_while_its_agent_is_deleted_does_not_stay(
    history: History, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """The deletion has looked for sources before this one is stored; then its process may be killed."""
    knowledge, order = await Knowledge.of_new_agent(history), NewSource(id=new_id("src"), kind="text", content="Late.")
    nouns = history.dependencies.nouns
    insert = nouns.sources._sources.insert

    async def deleted_first(row: Document) -> None:
        await history.client.delete_agent(WORKSPACE, knowledge.agent_id, "key_1")
        await insert(row)
        if is_killed:
            raise RuntimeError("the process has ended")

    with monkeypatch.context() as patched:
        patched.setattr(nouns.sources._sources, "insert", deleted_first)
        with pytest.raises(RuntimeError if is_killed else ApiError):
            await nouns.sources.create(WORKSPACE, knowledge.agent_id, order)

    async def nothing_is_left() -> bool:
        collections = ("sources", "blobs.files", "blobs.chunks")
        return not any([await history.documents[name].find({}).to_list(None) for name in collections])

    await eventually(nothing_is_left, what="an erasure by the reconciler")


async def test_a_source_that_was_added_is_not_looked_at_again(knowledge: Knowledge) -> None:
    source = await knowledge.text("The garden opens at nine.")
    (row,) = await knowledge.history.documents.sources.find({"_id": source.id}).to_list(None)
    assert "erasing" not in row
