"""Drafts, publishing, rollback and deletion over the internal API."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.history.agents.publishing import Publishing
from shared.contracts.agent_records import AgentRecord, DraftPatch, NewAgent, PublishOrder, RollbackOrder
from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion, order, passage

DRAFT: dict[str, Any] = {"name": "Mia's Pizza", "model": {"name": "m"}, "instructions": "One."}


async def created(history: History, **members: Any) -> AgentRecord:
    return await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=DRAFT, **members))


async def published(history: History, agent_id: str, instructions: str) -> int:
    await history.client.patch_draft(WORKSPACE, agent_id, DraftPatch(patch={"instructions": instructions}))
    return (await history.client.publish_draft(WORKSPACE, agent_id, PublishOrder())).number


async def audit_of(history: History) -> list[tuple[str, str | None]]:
    page = await history.client.audit(WORKSPACE, {})
    return [(row["action"], row.get("actor")) for row in reversed(page["items"])]


async def code_of(call: Any) -> Code:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value.code


async def test_an_agent_is_created_with_a_slug_made_of_its_name(history: History) -> None:
    first, second = await created(history), await created(history)
    assert first.slug == "mia-s-pizza"
    assert second.slug.startswith("mia-s-pizza-")
    assert (first.revision, first.published_version, first.latest_version) == (1, None, 0)
    assert await code_of(created(history, slug=first.slug)) is Code.VALIDATION_FAILED


async def test_an_agent_is_found_by_its_slug_among_the_others(history: History) -> None:
    await created(history)
    agent = await created(history, slug="mine")

    async def found(slug: str, workspace: str = WORKSPACE) -> list[str]:
        page = await history.client.draft_list(workspace, {"slug": slug, "limit": "1"})
        assert page["nextCursor"] is None
        return [item["id"] for item in page["items"]]

    assert await found("mine") == [agent.id]
    assert await found("mine", "other") == []
    assert await found("min") == []
    await history.client.delete_agent(WORKSPACE, agent.id, None)
    assert await found("mine") == []


async def test_a_repeated_creation_is_the_same_agent(history: History) -> None:
    one = await created(history, key="once")
    two = await created(history, key="once")
    assert one == two
    assert await audit_of(history) == [("agent.created", None)]


async def test_of_two_editors_the_second_is_refused_and_nothing_of_its_change_is_stored(history: History) -> None:
    agent = await created(history)
    patch = DraftPatch(patch={"instructions": "Two.", "greeting": "Hi"}, revision=1, actor="key_1")
    assert (await history.client.patch_draft(WORKSPACE, agent.id, patch)).revision == 2
    late = DraftPatch(patch={"instructions": "Three."}, revision=1)
    assert await code_of(history.client.patch_draft(WORKSPACE, agent.id, late)) is Code.VERSION_CONFLICT
    stored = (await history.client.draft(WORKSPACE, agent.id)).draft or {}
    assert (stored["instructions"], stored["greeting"]) == ("Two.", "Hi")
    # The answer of the first was lost, say: its repeat is answered, and changes nothing.
    assert (await history.client.patch_draft(WORKSPACE, agent.id, patch)).revision == 2
    assert await audit_of(history) == [("agent.created", None), ("agent.updated", "key_1")]


async def test_parallel_patches_without_a_revision_are_all_applied(history: History) -> None:
    agent = await created(history)
    fields = {f"v{number}": {"default": str(number)} for number in range(8)}
    patches = [DraftPatch(patch={"variables": {name: value}}) for name, value in fields.items()]
    await asyncio.gather(*(history.client.patch_draft(WORKSPACE, agent.id, patch) for patch in patches))
    stored = await history.client.draft(WORKSPACE, agent.id)
    assert (set((stored.draft or {})["variables"]), stored.revision) == (set(fields), 9)


async def test_a_bad_draft_is_refused_whole(history: History) -> None:
    agent = await created(history)
    bad = DraftPatch(patch={"greeting": "Hi", "instrutions": "x"})
    assert await code_of(history.client.patch_draft(WORKSPACE, agent.id, bad)) is Code.VALIDATION_FAILED
    assert "greeting" not in {
        name for name, value in ((await history.client.draft(WORKSPACE, agent.id)).draft or {}).items() if value
    }


async def test_publishing_numbers_versions_and_rolling_back_moves_the_pointer(history: History) -> None:
    agent = await created(history)
    assert [await published(history, agent.id, text) for text in ("One.", "Two.", "Three.")] == [1, 2, 3]
    await history.client.rollback_agent(WORKSPACE, agent.id, RollbackOrder(version=1, actor="key_1"))
    assert (await history.client.draft(WORKSPACE, agent.id)).published_version == 1
    assert await published(history, agent.id, "Four.") == 4
    record = await history.client.draft(WORKSPACE, agent.id)
    assert (record.published_version, record.latest_version) == (4, 4)
    actions = [action for action, _ in await audit_of(history)]
    assert actions.count("agent.published") == 4
    assert actions.count("agent.rolled_back") == 1
    missing = history.client.rollback_agent(WORKSPACE, agent.id, RollbackOrder(version=9))
    assert await code_of(missing) is Code.NOT_FOUND


async def test_a_repeated_publishing_is_the_same_version(history: History) -> None:
    agent = await created(history)
    order = PublishOrder(key="once", note="first")
    versions = await asyncio.gather(*(history.client.publish_draft(WORKSPACE, agent.id, order) for _ in range(5)))
    assert {version.number for version in versions} == {1}
    again = await history.client.publish_draft(WORKSPACE, agent.id, PublishOrder())
    assert again.number == 1, "an unchanged draft is the version that holds it"


async def test_parallel_publishings_leave_the_pointer_at_the_last_one_accepted(history: History) -> None:
    agent = await created(history)
    orders = [PublishOrder(key=str(number)) for number in range(6)]
    versions = await asyncio.gather(*(history.client.publish_draft(WORKSPACE, agent.id, each) for each in orders))
    assert sorted(version.number for version in versions) == [1, 2, 3, 4, 5, 6]
    record = await history.client.draft(WORKSPACE, agent.id)
    rows = await history.documents.agent_versions.find({"agent": f"{WORKSPACE}:{agent.id}"}).to_list(None)
    assert record.published_version == max(rows, key=lambda row: row["move"])["number"]


async def test_a_publishing_that_was_cut_off_is_finished_by_the_reconciler(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await created(history)

    async def killed(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(Publishing, "_move", killed)
        patched.setattr("services.history.agents.publishing.PREPARING_GRACE", timedelta(0))
        with pytest.raises(ApiError):
            await history.client.publish_draft(WORKSPACE, agent.id, PublishOrder())
    monkeypatch.setattr("services.history.agents.publishing.PREPARING_GRACE", timedelta(0))

    async def is_published() -> bool:
        return (await history.client.draft(WORKSPACE, agent.id)).published_version == 1

    await eventually(is_published, what="the pointer of the reconciled version")

    async def is_audited() -> bool:
        return [action for action, _ in await audit_of(history)].count("agent.published") == 1

    await eventually(is_audited, what="the one record of the publishing")


async def test_passages_of_the_latest_version_are_carried_over(history: History) -> None:
    agent = await created(history)
    passages = [passage(number) for number in range(3)]
    await history.client.publish_agent(WORKSPACE, agent.id, passages)
    assert await published(history, agent.id, "Two.") == 2
    assert await history.client.passages(WORKSPACE, agent.id, 2) == passages
    assert await history.client.passages(WORKSPACE, agent.id, 0) == passages


async def test_a_diff_names_what_changed(history: History) -> None:
    agent = await created(history)
    for text in ("One.", "Two."):
        await published(history, agent.id, text)
    changes = await history.client.version_diff(WORKSPACE, agent.id, 2, 1)
    assert [(change.field, change.before, change.after) for change in changes] == [("instructions", "One.", "Two.")]
    await history.client.patch_draft(WORKSPACE, agent.id, DraftPatch(patch={"greeting": "Hi"}))
    assert [change.field for change in await history.client.version_diff(WORKSPACE, agent.id, 0, 2)] == ["greeting"]


async def test_versions_are_paged_from_the_highest(history: History) -> None:
    agent = await created(history)
    for number in range(7):
        await published(history, agent.id, f"Text {number}.")
    numbers: list[int] = []
    query = {"limit": "3"}
    while True:
        page = await history.client.version_list(WORKSPACE, agent.id, query)
        numbers += [row["number"] for row in page["items"]]
        if page["nextCursor"] is None:
            break
        query = {"limit": "3", "cursor": page["nextCursor"]}
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


async def test_a_completion_names_an_agent_by_id_slug_and_version(history: History) -> None:
    agent = await created(history)
    for text in ("One.", "Two."):
        await published(history, agent.id, text)
    for model, version in ((agent.id, 2), (agent.slug, 2), (f"{agent.slug}@1", 1), (f"{agent.id}@1", 1)):
        turn = (await history.client.admit(WORKSPACE, completion(agent_id=model))).turn
        assert (turn.agent_id, turn.agent_version) == (agent.id, version), model
    for model in (f"{agent.slug}@9", "nobody", f"{agent.slug}@0", f"{agent.slug}@1@1", "a" * 200):
        assert await code_of(history.client.admit(WORKSPACE, completion(agent_id=model))) is Code.MODEL_NOT_FOUND


async def test_a_deleted_agent_takes_nothing_new_and_its_sessions_end(history: History) -> None:
    agent = await created(history)
    await published(history, agent.id, "One.")
    session = await history.client.create_session(WORKSPACE, new_id("ses"), agent.id, {}, False)
    await history.client.admit(WORKSPACE, order(session.id))
    await history.client.delete_agent(WORKSPACE, agent.id, "key_1")
    await history.client.delete_agent(WORKSPACE, agent.id, "key_1")
    assert await code_of(history.client.draft(WORKSPACE, agent.id)) is Code.AGENT_NOT_FOUND
    assert await code_of(history.client.admit(WORKSPACE, completion(agent_id=agent.id))) is Code.MODEL_NOT_FOUND
    again = history.client.create_session(WORKSPACE, new_id("ses"), agent.id, {}, False)
    assert await code_of(again) is Code.AGENT_NOT_FOUND
    ended = await history.client.session(WORKSPACE, session.id)
    assert (ended.status, ended.ended_reason) == ("ended", "agent")
    assert await code_of(history.client.admit(WORKSPACE, order(session.id))) is Code.SESSION_ENDED
    assert len((await history.client.messages(WORKSPACE, session.id, {}))["items"]) >= 1
    assert [action for action, _ in await audit_of(history)].count("agent.deleted") == 1
    assert (await created(history)).slug == agent.slug, "the slug is free again"


async def test_another_workspace_sees_nothing_of_an_agent(history: History) -> None:
    agent = await created(history)
    await published(history, agent.id, "One.")
    for call in (
        history.client.draft("other", agent.id),
        history.client.patch_draft("other", agent.id, DraftPatch(patch={"greeting": "Hi"})),
        history.client.publish_draft("other", agent.id, PublishOrder()),
        history.client.version_list("other", agent.id, {}),
        history.client.version_record("other", agent.id, 1),
        history.client.delete_agent("other", agent.id, None),
    ):
        assert await code_of(call) is Code.AGENT_NOT_FOUND
    assert (await history.client.draft_list("other", {}))["items"] == []
    assert (await history.client.audit("other", {}))["items"] == []
