"""The examples in deploy/proxies: all are listed, those that no test runs can be parsed, and their times are right."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from shared.settings import Settings
from tests.programs import required_program

HERE: Final = Path(__file__).parents[3] / "deploy" / "proxies"
TURN_TIMEOUT_S: Final = Settings.model_fields["turn_timeout_s"].default


def read(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text())


def test_the_readme_lists_every_example() -> None:
    told = set(re.findall(r"`([\w.-]+)`", "".join(re.findall(r"(?m)^\| (`.+?) \|", (HERE / "README.md").read_text()))))
    assert told == {path.name for path in HERE.iterdir()} - {"README.md"}


@pytest.mark.parametrize("name", ["Caddyfile", "compose.Caddyfile"])
def test_caddy_takes_the_example(name: str, tmp_path: Path) -> None:
    command = [required_program("caddy", "caddy"), "adapt", "--adapter", "caddyfile", "--config", name]
    done = subprocess.run(
        command, cwd=HERE, env={"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"flush_interval":-1' in done.stdout


def test_no_example_ends_a_request_that_waits_for_a_turn() -> None:
    nginx = re.findall(r"proxy_read_timeout (\d+)s", (HERE / "nginx.conf").read_text())
    haproxy = re.findall(r"timeout (?:client|server) (\d+)s", (HERE / "haproxy.cfg").read_text())
    envoy = re.findall(r"stream_idle_timeout: (\d+)s", (HERE / "envoy.yaml").read_text())
    attributes = read("aws-alb.yaml")["Resources"]["Balancer"]["Properties"]["LoadBalancerAttributes"]
    alb = [entry["Value"] for entry in attributes if entry["Key"] == "idle_timeout.timeout_seconds"]
    assert (len(nginx), len(haproxy), len(envoy), len(alb)) == (1, 2, 1, 1)
    assert all(float(seconds) > TURN_TIMEOUT_S for seconds in [*nginx, *haproxy, *envoy, *alb])


def test_the_examples_that_are_not_run_can_be_parsed() -> None:
    assert read("envoy.yaml")["static_resources"]["clusters"][0]["name"] == "gateways"
    assert set(read("aws-alb.yaml")["Resources"]) == {"Balancer", "Gateways", "Public"}
    assert read("cloudflared.yml")["ingress"][-1] == {"service": "http_status:404"}
