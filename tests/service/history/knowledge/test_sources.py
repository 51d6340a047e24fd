"""Sources from their upload to the passages of a version, through history and an ingest worker."""

from typing import Any

import pytest

from services.history.knowledge import version_sources
from shared.contracts.agent_records import PublishOrder
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import MAX_UPLOAD, IngestOutcome, IngestProgress, SourcePatch
from tests.conftest import eventually
from tests.service.history.knowledge.conftest import ingesting
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import WORKSPACE, History

MANUAL = b"# Pump\n\n## Start\n\nPress the green button for two seconds.\n\n## Stop\n\nPull the red lever.\n"


async def code_of(call: Any) -> Code:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value.code


async def test_a_markdown_file_becomes_passages_of_the_next_version(knowledge: Knowledge) -> None:
    source = await knowledge.file("manual.md", MANUAL)
    assert source.state == "pending"
    indexed = await knowledge.ended(source)
    assert (indexed.state, indexed.title, indexed.passages) == ("indexed", "Pump", 1)
    version = await knowledge.publish()
    assert (version.state, version.passage_count) == ("published", 1)
    (passage,) = await knowledge.passages(version.number)
    assert "green button" in passage.text
    assert (passage.source_id, passage.heading) == (source.id, "Pump")


async def test_the_text_of_a_source_is_that_of_the_version_and_goes_with_a_purge(
    knowledge: Knowledge,
) -> None:
    client, agent_id = knowledge.history.client, knowledge.agent_id
    manual = await knowledge.ended(await knowledge.file("manual.md", MANUAL))
    version = (await knowledge.publish()).number
    late = await knowledge.ended(await knowledge.text("Added later."))
    assert [source.id for source in await client.version_sources(WORKSPACE, agent_id, version)] == [manual.id]
    told = await client.source_text(WORKSPACE, agent_id, version, manual.id)
    assert (told.source.title, told.is_cut) == ("Pump", False)
    assert told.text.startswith("Pump\n\n")
    assert "Pull the red lever." in told.text
    assert await code_of(client.source_text(WORKSPACE, agent_id, version, late.id)) is Code.NOT_FOUND
    assert await code_of(client.source_text("another", agent_id, version, manual.id)) is Code.AGENT_NOT_FOUND
    await client.delete_source(WORKSPACE, agent_id, manual.id, None, purge=True)
    assert await code_of(client.source_text(WORKSPACE, agent_id, version, manual.id)) is Code.NOT_FOUND


async def test_a_long_source_is_told_in_part(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_sources, "MAX_TEXT_PASSAGES", 1)
    long = await knowledge.ended(await knowledge.text("\n\n".join(f"Part {n}. " + "word " * 150 for n in range(9))))
    version = (await knowledge.publish()).number
    told = await knowledge.history.client.source_text(WORKSPACE, knowledge.agent_id, version, long.id)
    assert told.is_cut
    assert "Part 0." in told.text
    assert "Part 8." not in told.text


async def test_a_version_that_is_published_while_a_source_is_read_waits_for_it(history: History) -> None:
    knowledge = await Knowledge.of_new_agent(history)
    await knowledge.text("The shop closes at nine.")
    record = await history.client.publish_draft(WORKSPACE, knowledge.agent_id, PublishOrder())
    assert record.state == "preparing"
    async with ingesting(history):
        version = await knowledge.publish()
    assert (version.number, version.state, version.passage_count) == (record.number, "published", 1)


async def test_a_version_keeps_its_frozen_set_and_the_next_has_the_new_one(knowledge: Knowledge) -> None:
    first = await knowledge.ended(await knowledge.text("The shop opens at eight."))
    one = await knowledge.publish()
    await knowledge.delete(first)
    await knowledge.ended(await knowledge.text("The shop closes at nine."))
    two = await knowledge.publish()
    assert two.number == one.number + 1
    assert ["eight" in row.text for row in await knowledge.passages(one.number)] == [True]
    assert ["nine" in row.text for row in await knowledge.passages(two.number)] == [True]
    assert (await knowledge.publish()).number == two.number


async def test_a_deleted_source_that_no_version_holds_leaves_nothing_behind(knowledge: Knowledge) -> None:
    source = await knowledge.ended(await knowledge.file("manual.md", MANUAL))
    assert await knowledge.left_of(source) == ["sources", "passages", "blobs.files", "blobs.chunks"]
    await knowledge.delete(source)
    assert await knowledge.left_of(source) == []
    assert await code_of(knowledge.get(source)) is Code.NOT_FOUND


async def test_a_purged_source_is_taken_from_its_versions_and_the_audit_says_who_did_it(knowledge: Knowledge) -> None:
    source = await knowledge.ended(await knowledge.text("A secret that must go."))
    version = await knowledge.publish()
    await knowledge.delete(source)
    assert "passages" in await knowledge.left_of(source)
    await knowledge.delete(source, purge=True)
    assert await knowledge.left_of(source) == []
    assert await knowledge.passages(version.number) == []
    records = (await knowledge.history.client.audit(WORKSPACE, {}))["items"]
    assert ("knowledge.source_purged", source.id, "key_1") in [
        (row["action"], row["target"], row.get("actor")) for row in records
    ]


async def test_equal_bytes_are_the_source_that_is_there(knowledge: Knowledge) -> None:
    first = await knowledge.ended(await knowledge.file("manual.md", MANUAL))
    again = await knowledge.file("copy.md", MANUAL)
    assert again.id == first.id
    assert (again.state, again.passages) == ("indexed", 1)
    files = await knowledge.history.documents["blobs.files"].find({}).to_list(None)
    assert len(files) == 1


async def test_the_counts_of_the_list_add_up(knowledge: Knowledge) -> None:
    good = await knowledge.text("Something to read.")
    bad = await knowledge.file("photo.md", b"\x89PNG\r\n\x1a\n" + bytes(200))
    for source in (good, bad):
        await knowledge.ended(source)
    page = await knowledge.history.client.source_list(WORKSPACE, knowledge.agent_id, {"limit": "1"})
    assert page["counts"] == {"pending": 0, "processing": 0, "indexed": 1, "failed": 1}
    rest = await knowledge.history.client.source_list(WORKSPACE, knowledge.agent_id, {"cursor": page["nextCursor"]})
    assert [row["id"] for row in page["items"] + rest["items"]] == [bad.id, good.id]
    assert rest["items"][0]["state"] == "indexed"
    assert "PNG image" in page["items"][0]["reason"]


async def test_sources_of_another_workspace_and_absent_ones_are_equally_absent(knowledge: Knowledge) -> None:
    source = await knowledge.text("Ours alone.")
    client = knowledge.history.client
    assert await code_of(client.source("other", knowledge.agent_id, source.id)) is Code.AGENT_NOT_FOUND
    other = await Knowledge.of_new_agent(knowledge.history)
    assert await code_of(other.get(source)) is Code.NOT_FOUND


async def test_a_patch_changes_the_title_that_the_next_version_shows(knowledge: Knowledge) -> None:
    source = await knowledge.ended(await knowledge.text("The pool is heated.", title="Pool"))
    order = SourcePatch(title="Swimming pool", tags=("spa",))
    changed = await knowledge.history.client.patch_source(WORKSPACE, knowledge.agent_id, source.id, order)
    assert (changed.title, changed.tags, changed.state) == ("Swimming pool", ("spa",), "indexed")
    version = await knowledge.publish()
    assert [row.title for row in await knowledge.passages(version.number)] == ["Swimming pool"]


async def test_a_worker_whose_lease_lapsed_can_store_nothing(history: History) -> None:
    knowledge = await Knowledge.of_new_agent(history)
    source = await knowledge.text("Read twice.")
    slow = await history.client.claim_source(0.001)
    assert slow is not None
    fast = None

    async def claimed() -> bool:
        nonlocal fast
        fast = await history.client.claim_source(60.0)
        return fast is not None

    await eventually(claimed, what="the second claim")
    assert fast is not None
    assert fast.attempt == slow.attempt + 1
    assert not await history.client.renew_source(source.id, IngestProgress(attempt=slow.attempt, lease_s=60.0))
    assert not await history.client.add_passages(source.id, slow.attempt, 0, [])
    ended = IngestOutcome(attempt=slow.attempt, state="failed", reason="late")
    assert not await history.client.finish_source(source.id, ended)
    assert (await knowledge.get(source)).state == "processing"


async def test_a_source_whose_workers_die_again_and_again_fails_with_a_reason(history: History) -> None:
    knowledge = await Knowledge.of_new_agent(history)
    source = await knowledge.text("Deadly.")

    async def failed() -> bool:
        await history.client.claim_source(0.001)
        return (await knowledge.get(source)).state == "failed"

    await eventually(failed, what="giving up")
    assert "given up" in ((await knowledge.get(source)).reason or "")
    retried = await history.client.retry_source(WORKSPACE, knowledge.agent_id, source.id)
    assert (retried.state, retried.reason) == ("pending", None)


async def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(history: History) -> None:
    knowledge = await Knowledge.of_new_agent(history)
    assert await code_of(knowledge.file("large.txt", bytes(MAX_UPLOAD + 1))) is Code.PAYLOAD_TOO_LARGE
    for name in ("blobs.files", "blobs.chunks"):
        assert await history.documents[name].find({}).to_list(None) == []
