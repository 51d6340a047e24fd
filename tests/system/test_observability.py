"""A real Prometheus scrapes the stack: every panel of the dashboard has data, and an alert fires when it should."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from shared.turn_queue.keys import QUEUE
from tests.conftest import eventually
from tests.programs import required_program
from tests.system.conftest import PRICED
from tests.system.prometheus import Prometheus
from tests.system.stack import ROOT, Client, Stack

OBSERVABILITY = ROOT / "deploy" / "observability"
# Scrapes are a second apart; a busy machine misses some.
WINDOW = "60s"


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program = required_program("prometheus", "prometheus")
    targets = {f"parley-{kind}": urls for kind, urls in stack.facts["metrics"].items()}
    started = Prometheus(program, tmp_path_factory.mktemp("prometheus"), OBSERVABILITY / "alerts.yml", targets)
    yield started
    started.stop()


def panel_queries() -> dict[str, list[str]]:
    panels: list[dict[str, Any]] = json.loads((OBSERVABILITY / "dashboard.json").read_text())["panels"]
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels if "targets" in panel}


async def test_every_panel_of_the_dashboard_has_data(
    stack: Stack, client: Client, http: aiohttp.ClientSession, prometheus: Prometheus
) -> None:
    async def all_up() -> bool:
        up = await prometheus.query(http, "up == 1")
        return len(up) == sum(len(urls) for urls in stack.facts["metrics"].values())

    await eventually(all_up, within_s=20, what="a scrape of every process")

    priced = await stack.publish(PRICED)

    async def without_data() -> list[str]:
        # Rates need a rise between two scrapes: so there is traffic all the time.
        for question in ("Do you deliver to 80202?", "Where is order 1042?"):
            await client.ask(await client.session(stack.facts["agentId"]), question)
        await client.ask(await client.session(priced), "What does it cost?")
        missing = []
        for title, queries in panel_queries().items():
            for query in queries:
                series = await prometheus.query(http, query.replace("$__rate_interval", WINDOW))
                if not any(one["value"][1] != "NaN" for one in series):
                    missing.append(f"{title}: {query}")
        return missing

    missing: list[str] = []

    async def complete() -> bool:
        nonlocal missing
        missing = await without_data()
        return not missing

    try:
        await eventually(complete, within_s=30)
    except AssertionError:
        raise AssertionError("without data: " + "; ".join(missing)) from None


async def test_an_alert_fires_when_its_cause_is_there_and_not_before(
    stack: Stack, client: Client, http: aiohttp.ClientSession, prometheus: Prometheus
) -> None:
    counted = "sum(parley_undecodable_jobs_total)"
    firing = 'ALERTS{alertname="ParleyJobsUndecodable", alertstate="firing"}'

    async def scraped_twice() -> bool:
        counts = 'count_over_time(parley_undecodable_jobs_total{job="parley-worker"}[1m]) >= 2'
        return len(await prometheus.query(http, counts)) == len(stack.facts["metrics"]["worker"])

    await eventually(scraped_twice, within_s=20, what="two scrapes of each worker")
    assert await prometheus.query(http, firing) == []
    before = float((await prometheus.query(http, counted))[0]["value"][1])
    async with Redis.from_url(stack.facts["redisUrl"]) as redis:
        await redis.set("arq:job:trn_unreadable", b"no job")
        await redis.zadd(QUEUE, {"trn_unreadable": 1})

    # An idle worker is woken by a turn, and claims the oldest job first.
    await client.ask(await client.session(stack.facts["agentId"]), "What are your hours?")

    async def fires() -> bool:
        return bool(await prometheus.query(http, firing))

    await eventually(fires, within_s=20, what="the alert")
    assert float((await prometheus.query(http, counted))[0]["value"][1]) == before + 1


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_when_all_workers_freeze_the_alerts_of_that_fire_and_no_other_and_all_end_with_it(
    stack: Stack, client: Client, http: aiohttp.ClientSession, prometheus: Prometheus
) -> None:
    async def firing() -> set[str]:
        series = await prometheus.query(http, 'ALERTS{alertstate="firing"}')
        return {one["metric"]["alertname"] for one in series}

    async def scraped() -> bool:
        workers = await prometheus.query(http, 'up{job="parley-worker"} == 1')
        return len(workers) == len(stack.facts["metrics"]["worker"])

    await eventually(scraped, within_s=30, what="a scrape of each worker")
    # An alert of the tests before this one fires for a quarter of an hour.
    earlier = await firing()
    pids, seen = stack.facts["pids"]["worker"], set[str]()
    expected = {"ParleyProcessDown", "ParleyNoWorker"}

    async def all_fire() -> bool:
        seen.update(await firing() - earlier)
        return expected <= seen

    async def calm() -> bool:
        now = await firing() - earlier
        seen.update(now)
        return not now

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await eventually(all_fire, within_s=180, what="the alerts")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await eventually(calm, within_s=120, what="silence after the workers are back")
    assert seen == expected
    told = await client.ask(await client.session(stack.facts["agentId"]), "What are your hours?")
    assert told.events()[-1] == "done"


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads(Path(OBSERVABILITY / "dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
