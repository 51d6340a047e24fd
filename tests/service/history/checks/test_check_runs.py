"""Runs of checks: from the order to the results, over the internal API and with a played worker."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from services.history.checks.run_record import turn_id
from services.history.checks.runs import MAX_ACTIVE
from shared.contracts.agent_records import DraftPatch, NewAgent, PublishOrder
from shared.contracts.checks import PutChecks, RunChecks
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Retrieval
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.checks.playing import (
    DRAFT,
    agent_with,
    check,
    ended,
    put,
    run_to_end,
    says,
    turns_of,
    worker,
)
from tests.service.history.running import WORKSPACE, History, message, running, settings_for


async def test_a_conversation_is_run_step_after_step_with_its_context(history: History) -> None:
    talk = check("talk", ("One?", {"contains": "ONE"}), ("Two?", {"matches": "^two"}))
    agent = await agent_with(history, talk)
    async with worker(history, lambda question, n: {1: "It is one.", 2: "two it is"}[n]):
        run = await run_to_end(history, agent.id)
    assert (run.state, run.passed, run.failed, run.total) == ("passed", 1, 0, 1)
    assert [step.answer for step in (run.results or ())[0].steps] == ["It is one.", "two it is"]
    first, second = sorted(await turns_of(history), key=lambda row: row["n"])
    assert first["sessionId"] == second["sessionId"]
    assert [row["status"] for row in (first, second)] == ["completed", "completed"]


async def test_a_failed_expectation_ends_the_check_and_says_why(history: History) -> None:
    agent = await agent_with(
        history,
        check("bad", ("When?", {"contains": "11"}), ("Then?", {"contains": "x"})),
        check("good", ("When?", {"contains": "noon"})),
    )
    async with worker(history, says("At noon.")):
        run = await run_to_end(history, agent.id)
    bad, good = run.results or ()
    assert (run.state, run.passed, run.failed) == ("failed", 1, 1)
    assert (bad.state, good.state) == ("failed", "passed")
    assert [(f.step, f.expectation, f.message) for f in bad.failures] == [
        (1, "contains", 'The answer does not contain "11".')
    ]
    assert len(await turns_of(history)) == 2


async def test_checks_count_in_no_statistics_and_are_in_no_list(history: History) -> None:
    def counted() -> tuple[float, float]:
        ends = REGISTRY.get_sample_value("parley_turns_finished_total", {"status": "completed"}) or 0.0
        return ends, REGISTRY.get_sample_value("parley_turns_admitted_total") or 0.0

    before = counted()
    agent = await agent_with(history, check("a", ("Hi?", {"contains": "hi"})))
    async with worker(history, says("Hi.")):
        assert (await run_to_end(history, agent.id)).state == "passed"
    assert counted() == before
    assert (await history.client.sessions(WORKSPACE, {}))["items"] == []
    assert (await history.client.completions(WORKSPACE, [("limit", "10")]))["items"] == []
    assert all(row["expiresAt"] > row["createdAt"] for row in await turns_of(history))


async def test_a_checks_question_is_no_gap_of_the_agents_knowledge(history: History) -> None:
    agent = await agent_with(history, check("a", ("Do you sell shoes?", {"contains": "no"})))
    await history.client.publish_draft(WORKSPACE, agent.id, PublishOrder())
    found_nothing = message("no", "assistant").model_copy(update={"knowledge": (Retrieval(query="shoes"),)})
    async with worker(history, says("no"), output=(found_nothing,)):
        assert (await run_to_end(history, agent.id, version=1)).state == "passed"
    assert (await history.client.knowledge_gaps(WORKSPACE, agent.id, {"days": "30"})).questions == 0


async def test_a_killed_history_loses_and_doubles_no_turn(mongodb_uri: str, redis_url: str) -> None:
    """The second history finds a run whose decision was written and whose turn was not admitted."""
    settings = settings_for(mongodb_uri, redis_url)
    async with running(settings) as first:
        await eventually(lambda: _ready(first), within_s=20.0)
        agent = await agent_with(first, check("a", ("One?", {"contains": "1"}), ("Two?", {"contains": "1"})))
        run = await first.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))

        async def admitted() -> bool:
            return bool(await turns_of(first))

        await eventually(admitted)
        # As a kill between the two writes leaves it.
        await first.documents.turns.delete_many({"_id": (await turns_of(first))[0]["_id"]})
    async with running(settings_for(mongodb_uri, redis_url, mongodb_database=settings.mongodb_database)) as second:
        await eventually(lambda: _ready(second), within_s=20.0)
        async with worker(second, says("1")):
            assert (await ended(second, agent.id, run.id)).state == "passed"
        assert {row["_id"] for row in await turns_of(second)} == {turn_id(run.id, 0, step, None) for step in (0, 1)}


async def _ready(history: History) -> bool:
    try:
        await history.client.ready()
    except ApiError:
        return False
    return True


async def test_two_histories_drive_one_run_without_a_second_turn(mongodb_uri: str, redis_url: str) -> None:
    settings = settings_for(mongodb_uri, redis_url)
    other = settings_for(mongodb_uri, redis_url, mongodb_database=settings.mongodb_database)
    async with running(settings) as one, running(other) as two:
        await eventually(lambda: _ready(one), within_s=20.0)
        await eventually(lambda: _ready(two), within_s=20.0)
        names = [str(number) for number in range(6)]
        agent = await agent_with(one, *(check(name, ("Q?", {"contains": "a"})) for name in names))
        async with worker(one, says("a")):
            run = await run_to_end(two, agent.id)
        assert (run.state, run.passed) == ("passed", 6)
        assert len(await turns_of(one)) == 6


async def test_no_more_checks_run_at_once_than_the_operator_allows(mongodb_uri: str, redis_url: str) -> None:
    async with running(settings_for(mongodb_uri, redis_url, checks_concurrency=2)) as history:
        await eventually(lambda: _ready(history), within_s=20.0)
        agent = await agent_with(history, *(check(str(number), ("Q?", {"contains": "a"})) for number in range(5)))
        run = await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))

        async def two_wait() -> bool:
            return len(await turns_of(history)) == 2

        await eventually(two_wait)
        for _ in range(3):
            await history.dependencies.nouns.runner.reconcile()
        assert len(await turns_of(history)) == 2
        async with worker(history, says("a")):
            assert (await ended(history, agent.id, run.id)).passed == 5


async def test_a_check_that_never_ends_fails_and_its_turn_is_cancelled(history: History) -> None:
    agent = await agent_with(history, check("slow", ("Q?", {"contains": "a"}), timeoutS=0.3))
    run = await run_to_end(history, agent.id)
    assert (run.results or ())[0].failures[0].message == "The check did not end within 0.3 s."

    async def cancelled() -> bool:
        return [row["status"] for row in await turns_of(history)] == ["cancelled"]

    await eventually(cancelled)


async def test_a_check_beyond_its_budget_fails_and_starts_no_further_turn(history: History) -> None:
    agent = await agent_with(history, check("dear", ("Q?", {"contains": "a"}), ("R?", {"contains": "a"}), maxTokens=4))
    async with worker(history, says("a")):
        run = await run_to_end(history, agent.id)
    assert (run.results or ())[0].failures[0].message == "The check has used 5 tokens; its budget is 4."
    assert len(await turns_of(history)) == 1


async def test_the_checks_of_a_deleted_agent_end_as_failed(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    run = await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    await history.client.delete_agent(WORKSPACE, agent.id, None)

    async def failed() -> bool:
        row = await history.documents.check_runs.find_one({"_id": run.id})
        return bool(
            row["state"] == "failed" and row["progress"][0]["failures"][0]["message"] == "The agent was deleted."
        )

    await eventually(failed)


async def test_a_run_that_cannot_be_read_fails_and_holds_up_no_other(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    broken = await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    await history.documents.check_runs.update_one({"_id": broken.id}, {"$set": {"suite": '{"checks": 7}'}})
    async with worker(history, says("a")):
        assert (await run_to_end(history, agent.id)).state == "passed"
    assert (await ended(history, agent.id, broken.id)).state == "failed"


async def test_a_turn_that_cannot_be_read_fails_its_check(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"}), timeoutS=60))
    run = await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))

    async def is_broken() -> bool:
        broken = {"$set": {"attempt": "none"}}
        return bool((await history.documents.turns.update_one({"check": run.id}, broken)).matched_count)

    await eventually(is_broken)
    failed = await ended(history, agent.id, run.id)
    assert (failed.results or ())[0].failures[0].message.startswith("The turn failed with turn_failed")


async def test_a_draft_that_changes_ends_its_run(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    run = await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    await history.client.patch_draft(WORKSPACE, agent.id, DraftPatch(patch={"instructions": "Two."}))
    stopped = await ended(history, agent.id, run.id)
    assert "draft was changed" in (stopped.results or ())[0].failures[0].message


async def test_a_missing_variable_fails_the_check_and_names_it(history: History) -> None:
    agent = await agent_with(
        history,
        check("without", ("Q?", {"contains": "a"})),
        check("with", ("Q?", {"contains": "a"}), metadata={"plan": "gold"}),
        instructions="The plan is {{plan}}.",
    )
    async with worker(history, says("a")):
        run = await run_to_end(history, agent.id)
    without, given = run.results or ()
    assert given.state == "passed"
    assert "metadata.plan" in without.failures[0].message


async def test_a_run_is_compared_with_the_version_before(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "new"})), check("b", ("Q?", {"contains": "old"})))
    await history.client.publish_draft(WORKSPACE, agent.id, PublishOrder())
    async with worker(history, says("the old answer")):
        first = await run_to_end(history, agent.id, version=1)
    assert (first.compared_with, [result.before for result in first.results or ()]) == (None, [None, None])
    async with worker(history, says("the new answer")):
        draft = await run_to_end(history, agent.id)
    assert draft.compared_with == 1
    assert [(result.state, result.before) for result in draft.results or ()] == [
        ("passed", "failed"),
        ("failed", "passed"),
    ]


async def test_a_repeat_with_the_same_key_is_the_same_run(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    orders = [history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0, key="k")) for _ in range(4)]
    assert len({run.id for run in await asyncio.gather(*orders)}) == 1
    with pytest.raises(ApiError) as refusal:
        await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=1, key="k"))
    assert refusal.value.code is Code.IDEMPOTENCY_MISMATCH


async def test_runs_are_bounded_per_workspace(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    for _ in range(MAX_ACTIVE):
        await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    with pytest.raises(ApiError) as refusal:
        await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    assert refusal.value.code is Code.RATE_LIMITED


async def test_an_agent_without_checks_has_nothing_to_run(history: History) -> None:
    agent = await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=DRAFT))
    with pytest.raises(ApiError) as refusal:
        await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    assert refusal.value.code is Code.VALIDATION_FAILED


async def test_another_workspace_sees_neither_checks_nor_runs(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    run = await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))
    for call in (
        history.client.checks("other", agent.id),
        history.client.put_checks("other", agent.id, PutChecks(suite={"checks": []})),
        history.client.run_checks("other", agent.id, RunChecks(version=0)),
        history.client.check_run("other", agent.id, run.id),
        history.client.check_runs("other", agent.id, {}),
    ):
        with pytest.raises(ApiError) as refusal:
            await call
        assert refusal.value.code is Code.AGENT_NOT_FOUND


async def test_runs_are_listed_newest_first_without_results(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    ids = [(await history.client.run_checks(WORKSPACE, agent.id, RunChecks(version=0))).id for _ in range(3)]
    page = await history.client.check_runs(WORKSPACE, agent.id, {"limit": "2"})
    assert [item["id"] for item in page["items"]] == sorted(ids, reverse=True)[:2]
    assert "results" not in page["items"][0]
    rest = await history.client.check_runs(WORKSPACE, agent.id, {"cursor": page["nextCursor"]})
    assert [item["id"] for item in rest["items"]] == [min(ids)]


async def test_changed_checks_are_in_the_audit_once_and_an_editor_does_not_overwrite_another(history: History) -> None:
    agent = await agent_with(history, check("a", ("Q?", {"contains": "a"})))
    await put(history, agent.id, check("a", ("Q?", {"contains": "a"})))
    audit = await history.client.audit(WORKSPACE, {})
    assert [row["action"] for row in audit["items"]] == ["agent.checks_changed", "agent.created"]
    late = PutChecks(suite={"checks": []}, revision=0)
    with pytest.raises(ApiError) as refusal:
        await history.client.put_checks(WORKSPACE, agent.id, late)
    assert refusal.value.code is Code.VERSION_CONFLICT
    assert (await history.client.checks(WORKSPACE, agent.id)).revision == 1
