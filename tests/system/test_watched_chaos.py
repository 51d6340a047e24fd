"""A real Prometheus scrapes a stack through the chaos smoke: each alert fires when its cause is planted, is silent
otherwise and ends after, and every panel of the dashboard has data.

Of the alert rules, all `for`s and windows are a tenth of production's here (tests/system/chaos/paced_rules.py).
"""

import time
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from shared.contracts.agent_records import NewAgent, PublishOrder
from shared.contracts.knowledge import NewSource
from shared.ids import new_id
from tests.conftest import PATIENCE, eventually
from tests.programs import required_program
from tests.system.chaos.checker import check
from tests.system.chaos.cluster import WORKSPACE
from tests.system.chaos.conditions import CONDITIONS, Condition
from tests.system.chaos.run import Plan, run_on
from tests.system.chaos.scene import LEASE_S, Scene, scene
from tests.system.chaos.watch import OF_SPEED
from tests.system.test_chaos_smoke import SECONDS, SMOKE
from tests.system.test_observability import panel_queries

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

# Processes are killed and frozen, and stores fail and go away: causes of these. No fault is a cause of any other.
OF_FAULTS: Final = frozenset(
    {
        "ParleyNoWorker",
        "ParleyQueueOld",
        "ParleyRequestsFailing",
        "ParleyLeasesLost",
        "ParleyLoopStale",
        "ParleyStoreErrors",
        "ParleyIngestLate",
    }
)
CALM_S: Final = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    program = required_program("prometheus", "prometheus")
    with pytest.MonkeyPatch.context() as patch:
        # Ten processes start at once, beside other tests.
        patch.setattr("deploy.local.supervisor.READY_TIMEOUT_S", 60.0 * PATIENCE)
        async with scene(tmp_path_factory.mktemp("watched"), program) as built:
            await eventually(lambda: all_up(built), within_s=60, what="a scrape of every process")
            yield built


async def all_up(scene: Scene) -> bool:
    return len(await scene.watch.query("up == 1")) == sum(len(urls) for urls in scene.cluster.metrics.values())


async def test_no_alert_fires_while_turns_run_and_nothing_is_wrong(watched: Scene) -> None:
    began = time.monotonic()

    async def passed() -> bool:
        return time.monotonic() - began > CALM_S

    async with watched.callers("steady", 4):
        await eventually(passed, within_s=2 * CALM_S)
    assert await watched.watch.fired(began) <= OF_SPEED


async def test_a_minute_of_chaos_fires_no_alert_that_its_faults_are_no_cause_of(watched: Scene) -> None:
    began = time.monotonic()
    plan = Plan(seed=20261127, seconds=SECONDS, faults=SMOKE, lease_s=LEASE_S, think_s=1.5)
    result = await run_on(watched.cluster, plan)
    assert (check(result.history, PATIENCE), result.fewer, result.crashes) == ([], [], [])
    await without_webhooks(watched)
    fired = await watched.watch.fired(began)
    print("fired:", ", ".join(sorted(fired)) or "none")
    assert fired <= OF_FAULTS | OF_SPEED
    await silent(watched)


async def test_every_panel_of_the_dashboard_has_data_after_it(watched: Scene) -> None:
    """The chaos load has no knowledge and no prices, so some turns with them come first."""
    knowing = await agent_that_reads_a_source(watched)
    watched.agents["knowing"] = knowing
    missing: list[str] = []

    async def complete() -> bool:
        nonlocal missing
        missing = [
            f"{title}: {query}"
            for title, queries in panel_queries().items()
            for query in queries
            if not await watched.watch.query(query.replace("$__rate_interval", "10m"))
        ]
        return not missing

    async with watched.callers("knowing", 1), watched.callers("priced", 1):
        try:
            await eventually(complete, within_s=60)
        except AssertionError:
            raise AssertionError("without data: " + "; ".join(missing)) from None


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
async def test_alerts_fire_when_their_cause_is_planted_alone_and_end_after_it(
    watched: Scene, condition: Condition
) -> None:
    await silent(watched)
    began = time.monotonic()

    async def all_fire() -> bool:
        return condition.fires <= await watched.watch.fired(began)

    async with condition.planted(watched):
        try:
            await eventually(all_fire, within_s=180)
        except AssertionError:
            fired = await watched.watch.fired(began)
            raise AssertionError(f"did not fire: {sorted(condition.fires - fired)}; fired: {sorted(fired)}") from None
    await silent(watched)
    fired = await watched.watch.fired(began)
    print("fired:", ", ".join(sorted(fired)), f"in {time.monotonic() - began:.0f} s")
    assert fired <= condition.fires | condition.may | OF_SPEED


async def without_webhooks(scene: Scene) -> None:
    """The receiver of the chaos run is gone."""
    async with scene.cluster.history() as history:
        for webhook in (await history.webhooks(WORKSPACE, {}))["items"]:
            await history.remove_webhook(WORKSPACE, webhook["id"], None)


async def silent(scene: Scene) -> None:
    """The windows of some rules are minutes, so an alert outlasts its cause."""

    async def over() -> bool:
        return scene.cluster.all_ready() and await all_up(scene) and not await scene.watch.firing()

    await eventually(over, within_s=240, what="silence after the cause")


async def agent_that_reads_a_source(scene: Scene) -> str:
    agent_id, source_id = new_id("agt"), new_id("src")

    async def content() -> AsyncIterator[bytes]:
        yield b"# Hours\n\nThe restaurant opens at nine.\n"

    async with scene.cluster.history() as history:
        draft = {"name": "knowing", "model": {"name": "scripted/tokens=4,delay=3"}}
        await history.create_draft(WORKSPACE, NewAgent(id=agent_id, draft=draft))
        stored = await history.upload_source(WORKSPACE, agent_id, source_id, content())
        order = NewSource(id=source_id, kind="file", file_name="hours.md", stored=stored)
        await history.create_source(WORKSPACE, agent_id, order)

        async def read() -> bool:
            return (await history.source(WORKSPACE, agent_id, source_id)).state == "indexed"

        await eventually(read, within_s=60, what="a source that was read")
        await history.publish_draft(WORKSPACE, agent_id, PublishOrder())

        async def published() -> bool:
            return (await history.draft(WORKSPACE, agent_id)).published_version is not None

        await eventually(published, within_s=60, what="a published version")
    return agent_id
