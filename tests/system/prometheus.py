"""Debian's Prometheus with our rules. It scrapes a stack of the tests every second."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from deploy.local.processes import free_port


class Prometheus:
    """A running Prometheus. Ended by its pid."""

    def __init__(self, program: str, directory: Path, rules: Path, targets: Mapping[str, Sequence[str]]) -> None:
        """`targets`: URLs of `/metrics` by job."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [urlsplit(url).netloc for url in urls]}]}
                for job, urls in targets.items()
            ],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML.
        self._log = directory / "prometheus.log"
        command = [
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    async def fired(self, http: aiohttp.ClientSession, within_s: float) -> set[str]:
        """The names of the alerts that were firing at any time of the last seconds, or are now."""
        happened = f'count_over_time(ALERTS{{alertstate="firing"}}[{max(1, round(within_s))}s])'
        return {one["metric"]["alertname"] for one in await self.query(http, happened)}

    async def query(self, http: aiohttp.ClientSession, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; none while Prometheus starts."""
        if self.process.poll() is not None:
            raise AssertionError("prometheus ended:\n" + self._log.read_text()[-2000:])
        try:
            async with http.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
                if response.status == 503:
                    return []
                answer = await response.json()
        except aiohttp.ClientConnectionError:
            return []
        assert answer["status"] == "success", (expression, answer)
        return list(answer["data"]["result"])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
