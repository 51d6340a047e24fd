"""A real Prometheus beside a chaos run: it scrapes every process each second and judges our rules, at a tenth of their
durations (paced_rules.py)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.system.chaos.cluster import Cluster
from tests.system.chaos.paced_rules import paced
from tests.system.prometheus import Prometheus
from tests.system.stack import ROOT

RULES: Final = ROOT / "deploy" / "observability" / "alerts.yml"
# A slow host is a true cause of these, so they may fire at any time of a run: also a scrape may take a second at most.
# The rules' own test holds their silence.
OF_SPEED: Final = frozenset(
    {"ParleyProcessDown", "ParleyFirstTextSlow", "ParleyDoneLate", "ParleyMongoDBSlow", "ParleyEventLoopLate"}
)


class Watch:
    def __init__(self, prometheus: Prometheus, http: aiohttp.ClientSession) -> None:
        self._prometheus = prometheus
        self._http = http
        self._began = time.monotonic()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that are not NaN."""
        series = await self._prometheus.query(self._http, expression)
        return [one for one in series if one["value"][1] != "NaN"]

    async def value(self, expression: str) -> float:
        """Of one series; 0 while there is none."""
        series = await self.query(expression)
        return float(series[0]["value"][1]) if series else 0.0

    async def firing(self) -> set[str]:
        """Now."""
        return {one["metric"]["alertname"] for one in await self.query('ALERTS{alertstate="firing"}')}

    async def fired(self, since: float | None = None) -> set[str]:
        """Whatever was firing since then (by the monotonic clock), or since the watch began."""
        began = self._began if since is None else since
        return await self._prometheus.fired(self._http, time.monotonic() - began)


@asynccontextmanager
async def watching(cluster: Cluster, program: str, directory: Path) -> AsyncIterator[Watch]:
    """`program`: Prometheus'. Its files lie below the directory."""
    own = directory / "prometheus"
    own.mkdir(parents=True, exist_ok=True)
    (own / "alerts.yml").write_text(paced(RULES.read_text()))
    prometheus = Prometheus(program, own, own / "alerts.yml", cluster.metrics)
    try:
        async with aiohttp.ClientSession() as http:
            yield Watch(prometheus, http)
    finally:
        await asyncio.to_thread(prometheus.stop)
