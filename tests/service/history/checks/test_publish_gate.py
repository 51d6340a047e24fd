"""Publishing that requires checks: the version waits for them, and fails with those that fail."""

from datetime import timedelta

import pytest

from services.history.agents import publishing
from services.history.checks import runs
from shared.contracts.agent_records import DraftPatch, PublishOrder, VersionRecord
from shared.contracts.checks import RunChecks
from shared.contracts.errors import ApiError
from tests.conftest import eventually
from tests.service.history.checks.playing import agent_with, check, put, says, turns_of, worker
from tests.service.history.running import WORKSPACE, History

REQUIRED = PublishOrder(require_checks=True)


async def decided(history: History, agent_id: str, number: int) -> VersionRecord:
    found: list[VersionRecord] = []

    async def is_decided() -> bool:
        found.append(await history.client.version_record(WORKSPACE, agent_id, number))
        return found[-1].state != "preparing"

    await eventually(is_decided, within_s=30.0, what="a version that no longer prepares")
    return found[-1]


async def test_a_version_waits_for_its_checks_and_is_then_published(history: History) -> None:
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    version = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
    assert version.state == "preparing"
    assert (await history.client.draft(WORKSPACE, agent.id)).published_version is None
    async with worker(history, says("At 11.")):
        published = await decided(history, agent.id, version.number)
    assert published.state == "published"
    assert (await history.client.draft(WORKSPACE, agent.id)).published_version == 1
    assert published.check_run is not None
    run = await history.client.check_run(WORKSPACE, agent.id, published.check_run)
    assert (run.version, run.state) == (1, "passed")
    assert len(await turns_of(history)) == 1


async def test_a_version_is_decided_as_soon_as_its_checks_have_ended(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when the reconciler looks for versions whose publisher is gone: here it does not."""
    monkeypatch.setattr(publishing, "PREPARING_GRACE", timedelta(hours=1))
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    async with worker(history, says("At 11.")):
        version = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
        assert (await decided(history, agent.id, version.number)).state == "published"


async def test_a_version_fails_with_the_names_of_the_checks_that_fail(history: History) -> None:
    agent = await agent_with(
        history,
        check("hours", ("When?", {"contains": "11"})),
        check("place", ("Where?", {"contains": "Rome"})),
        check("menu", ("What?", {"contains": "noon"})),
    )
    async with worker(history, says("At noon.")):
        version = await decided(
            history, agent.id, (await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)).number
        )
    assert version.state == "failed"
    assert (version.reason or "").startswith("These checks failed: hours, place.")
    assert (await history.client.draft(WORKSPACE, agent.id)).published_version is None


async def test_a_mended_draft_is_published_as_the_next_version(history: History) -> None:
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    async with worker(history, says("At noon.")):
        first = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
        assert (await decided(history, agent.id, first.number)).state == "failed"
        # The draft is right; the check was wrong.
        await put(history, agent.id, check("hours", ("When?", {"contains": "noon"})))
        second = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
        assert (second.number, (await decided(history, agent.id, second.number)).state) == (2, "published")


async def test_a_published_draft_that_was_never_checked_becomes_a_version_that_is(history: History) -> None:
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    assert (await history.client.publish_draft(WORKSPACE, agent.id, PublishOrder())).state == "published"
    version = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
    assert (version.number, version.state) == (2, "preparing")


async def test_a_version_without_checks_to_pass_fails(history: History) -> None:
    agent = await agent_with(history)
    version = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
    assert (version.state, (version.reason or "").partition(".")[0]) == ("failed", "The agent has no checks")


async def test_a_version_of_an_agent_that_is_deleted_meanwhile_fails(history: History) -> None:
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
    await history.client.delete_agent(WORKSPACE, agent.id, None)

    async def failed() -> bool:
        row = await history.documents.agent_versions.find_one({"_id": f"{WORKSPACE}:{agent.id}:1"})
        return bool(row["state"] == "failed")

    await eventually(failed, within_s=30.0)


async def test_a_version_that_prepares_can_be_checked_before(history: History) -> None:
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
    assert (await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=1))).state == "running"
    with pytest.raises(ApiError):
        await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=2))
    await history.client.patch_draft(WORKSPACE, agent.id, DraftPatch(patch={"instructions": "Two."}))


async def test_a_version_waits_while_too_many_runs_have_not_ended(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_ACTIVE", 1)
    busy = await agent_with(history, check("other", ("Q?", {"contains": "11"})))
    await history.client.run_checks(WORKSPACE, busy.id, RunChecks(version=0))
    agent = await agent_with(history, check("hours", ("When?", {"contains": "11"})))
    version = await history.client.publish_draft(WORKSPACE, agent.id, REQUIRED)
    assert (version.state, version.check_run) == ("preparing", None)
    async with worker(history, says("At 11.")):
        assert (await decided(history, agent.id, version.number)).state == "published"
