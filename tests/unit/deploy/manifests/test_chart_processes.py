"""What the chart promises about each process: its settings, its secrets, its end and its rights."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from services.agent_worker.settings import WorkerSettings
from services.gateway.__main__ import DRAIN_S
from services.gateway.settings import GatewaySettings
from services.history.settings import HistorySettings
from shared.known_variables import SECRETS
from shared.settings import Settings
from tests.unit.deploy.manifests.checkers import CHART, objects

SETTINGS: Final[Mapping[str, type[Settings]]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "ingest": WorkerSettings,
    "history": HistorySettings,
}
PROCESSES: Final = tuple(SETTINGS)


@pytest.fixture(scope="module")
def pods() -> dict[str, Any]:
    """The Pod of each process, by the process."""
    templates = [document["spec"]["template"] for document in objects() if document["kind"] == "Deployment"]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template["spec"] for template in templates}


def variables(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_gets_settings_that_it_reads(pods: dict[str, Any], name: str) -> None:
    fields = {f"PARLEY_{field.upper()}" for field in SETTINGS[name].model_fields}
    assert {variable.removesuffix("_FILE") for variable in variables(pods[name])} <= fields


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_starts_with_the_chart_s_settings(pods: dict[str, Any], name: str) -> None:
    given = {
        variable: value for variable, value in variables(pods[name]).items() if not variable.endswith(("_FILE", "_DIR"))
    }
    settings = SETTINGS[name].load({**given, "PARLEY_INTERNAL_TOKEN": "0123456789abcdef"})
    ports = {port["name"]: port["containerPort"] for port in pods[name]["containers"][0]["ports"]}
    if isinstance(settings, GatewaySettings):
        assert ports == {"public": settings.port, "private": settings.private_port}
    else:
        assert ports == {"private": settings.port}


@pytest.mark.parametrize("name", PROCESSES)
def test_secrets_are_files_and_the_ones_of_this_process_alone(pods: dict[str, Any], name: str) -> None:
    files = {variable: value for variable, value in variables(pods[name]).items() if variable.endswith("_FILE")}
    assert {variable.removeprefix("PARLEY_").removesuffix("_FILE") for variable in files} <= SECRETS
    (volume,) = [volume for volume in pods[name]["volumes"] if volume["name"] == "secrets"]
    items = volume["projected"]["sources"][0]["secret"]["items"]
    assert {f"/etc/parley/secrets/{item['path']}" for item in items} == set(files.values())
    assert ("PARLEY_MONGODB_URI_FILE" in files) == (name == "history")
    assert not any(variable.removeprefix("PARLEY_") in SECRETS for variable in variables(pods[name]))


def grace(pod: dict[str, Any]) -> int:
    """Seconds between SIGTERM and the kill."""
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    return int(pod["terminationGracePeriodSeconds"]) - int(hook["sleep"]["seconds"])


def test_a_worker_is_not_killed_before_its_drain_is_over(pods: dict[str, Any]) -> None:
    drain_s = float(variables(pods["worker"])["PARLEY_DRAIN_S"])
    assert drain_s == Settings.model_fields["drain_s"].default
    assert grace(pods["worker"]) >= drain_s + 10


def test_a_longer_drain_gets_a_longer_grace_period() -> None:
    (longer,) = [
        document["spec"]["template"]["spec"]
        for document in objects(values={"worker": {"drainSeconds": 290}})
        if document["kind"] == "Deployment" and document["metadata"]["name"].endswith("-worker")
    ]
    assert (variables(longer)["PARLEY_DRAIN_S"], grace(longer)) == ("290", 305)


def test_what_a_service_leads_to_waits_for_its_removal_and_has_time_to_end_after_it(pods: dict[str, Any]) -> None:
    for name in ("gateway", "history"):
        assert pods[name]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] >= 3
        assert grace(pods[name]) >= DRAIN_S + 10


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_has_no_rights_that_it_does_not_need(pods: dict[str, Any], name: str) -> None:
    pod, (container,) = pods[name], pods[name]["containers"]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("name", PROCESSES)
def test_a_store_that_is_away_takes_a_process_out_of_rotation_but_does_not_restart_it(
    pods: dict[str, Any], name: str
) -> None:
    (container,) = pods[name]["containers"]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_the_cache_of_the_values_is_the_setting_s_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["worker"]["knowledgeBytes"] == WorkerSettings.model_fields["knowledge_cache_bytes"].default


def test_the_overview_s_addresses_are_services_that_policies_let_gateways_reach() -> None:
    documents = objects(values={"overview": {"enabled": True}, "internalTls": {"secretName": "tls"}})
    (gateway,) = [
        document["spec"]["template"]["spec"]
        for document in documents
        if document["kind"] == "Deployment" and document["metadata"]["name"].endswith("-gateway")
    ]
    told = variables(gateway)["PARLEY_OVERVIEW_URLS"].split(",")
    services = {
        (document["metadata"]["name"], document["spec"]["ports"][0]["port"]): document["spec"]["selector"]
        for document in documents
        if document["kind"] == "Service" and document["spec"].get("clusterIP") == "None"
    }
    addresses = [urlsplit(url) for url in told]
    assert {(url.hostname, url.port) for url in addresses} == set(services)
    assert [url.scheme for url in addresses if url.hostname and "history" in url.hostname] == ["https"]
    policies = {
        document["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: document["spec"]
        for document in documents
        if document["kind"] == "NetworkPolicy"
    }
    out = {port["port"] for rule in policies["gateway"]["egress"] for port in rule["ports"]}
    for (_, port), selector in services.items():
        entering = policies[selector["app.kubernetes.io/component"]]["ingress"]
        assert port in out
        assert any(
            rule["ports"] == [{"port": port}]
            and rule["from"][0].get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
            == "gateway"
            for rule in entering
        )


def test_without_the_overview_no_gateway_reaches_a_private_port_but_history_s() -> None:
    (policy,) = [
        document["spec"]
        for document in objects()
        if document["kind"] == "NetworkPolicy" and document["metadata"]["name"].endswith("-gateway")
    ]
    out = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert out == {53, 6379, 26379, 8082}
