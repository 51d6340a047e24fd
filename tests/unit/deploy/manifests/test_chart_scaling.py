"""The chart's autoscaling and monitoring name metrics and jobs that exist, and shares of limits that exist."""

import re
from typing import Any, Final

import pytest
import yaml

from deploy.reference import metrics
from services.agent_worker.settings import WorkerSettings
from services.gateway.settings import GatewaySettings
from tests.unit.deploy.manifests.checkers import CHART, ROOT, objects

SCALED: Final[dict[str, Any]] = {
    "gateway": {"autoscaling": {"enabled": True}},
    "worker": {"autoscaling": {"enabled": True}},
    "podMonitor": {"enabled": True},
}


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    return objects("--namespace", "chat", values=SCALED)


def triggers(rendered: list[dict[str, Any]], process: str) -> dict[str, dict[str, Any]]:
    (scaled,) = [
        document
        for document in rendered
        if document["kind"] == "ScaledObject" and document["metadata"]["name"].endswith(f"-{process}")
    ]
    assert scaled["spec"]["scaleTargetRef"]["name"] == scaled["metadata"]["name"]
    return {trigger["name"]: trigger for trigger in scaled["spec"]["triggers"]}


def test_workers_grow_by_the_age_of_the_oldest_turn_by_waiting_and_by_running_turns(
    rendered: list[dict[str, Any]],
) -> None:
    found = triggers(rendered, "worker")
    assert {name: trigger["metricType"] for name, trigger in found.items()} == {
        "oldest": "Value",
        "waiting": "AverageValue",
        "running": "AverageValue",
    }
    assert found["oldest"]["metadata"]["query"] == (
        'max(parley_queue_oldest_seconds{job="parley-worker",namespace="chat"})'
    )


def test_gateways_grow_by_open_streams(rendered: list[dict[str, Any]]) -> None:
    (held,) = triggers(rendered, "gateway").values()
    assert held["metadata"]["query"] == 'sum(parley_held_requests{job="parley-gateway",namespace="chat"})'


@pytest.mark.parametrize("process", ["gateway", "worker"])
def test_the_metrics_exist_and_a_missing_one_does_not_shrink_the_deployment(
    rendered: list[dict[str, Any]], process: str
) -> None:
    described = set(re.findall(r"`(parley_\w+)`", metrics.page()))
    for trigger in triggers(rendered, process).values():
        assert set(re.findall(r"parley_\w+", trigger["metadata"]["query"])) <= described
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert isinstance(trigger["metadata"]["threshold"], str)


def test_a_scaled_deployment_does_not_say_how_many_it_is(rendered: list[dict[str, Any]]) -> None:
    counted = {
        document["metadata"]["name"]: "replicas" in document["spec"]
        for document in rendered
        if document["kind"] == "Deployment"
    }
    assert counted == {
        "try-parley-gateway": False,
        "try-parley-worker": False,
        "try-parley-ingest": True,
        "try-parley-history": True,
    }


def test_the_targets_leave_room_below_the_limits_of_a_process() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    limits = GatewaySettings.model_fields["streams_limit"].default, WorkerSettings.model_fields["max_turns"].default
    targets = values["gateway"]["autoscaling"]["heldRequests"], values["worker"]["autoscaling"]["running"]
    assert all(0.3 * limit <= target <= 0.8 * limit for limit, target in zip(limits, targets, strict=True))


def test_pods_are_scraped_under_the_job_names_of_the_alerts(rendered: list[dict[str, Any]]) -> None:
    monitors = [document["spec"] for document in rendered if document["kind"] == "PodMonitor"]
    jobs = {endpoint["relabelings"][0]["replacement"] for spec in monitors for endpoint in spec["podMetricsEndpoints"]}
    configuration = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())
    assert jobs == {scrape["job_name"] for scrape in configuration["scrape_configs"]}
