"""The compose file follows the Compose Specification, and its proxy and dashboards find what they need."""

from typing import Any, Final

import yaml

from tests.unit.deploy.manifests.checkers import ROOT, complaints

DEPLOY: Final = ROOT / "deploy"
SPECIFICATION: Final = """
import json, sys
from compose_pydantic import ComposeSpecification
from pydantic import ValidationError
try:
    ComposeSpecification.model_validate(json.load(sys.stdin))
except ValidationError as error:
    print(*(f"{fault['loc']}: {fault['msg']}" for fault in error.errors()), sep="\\n")
"""


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    # The specification allows extensions, its models do not.
    return {name: value for name, value in document.items() if not name.startswith("x-")}


def test_the_compose_file_follows_the_specification() -> None:
    assert complaints(SPECIFICATION, compose()) == []


def test_the_specification_would_refuse_a_misspelt_member() -> None:
    document = compose()
    document["services"]["gateway"]["comand"] = "true"
    assert any("comand" in complaint for complaint in complaints(SPECIFICATION, document))


def test_only_the_proxy_and_the_monitoring_are_published_and_only_on_loopback() -> None:
    ports = {name: service.get("ports", []) for name, service in compose()["services"].items()}
    assert {name for name, published in ports.items() if published} == {"proxy", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)


def test_files_that_are_mounted_exist() -> None:
    mounts = [str(mount) for service in compose()["services"].values() for mount in service.get("volumes", ())]
    local = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(local) == 5
    assert all((DEPLOY / path).exists() for path in local)
    assert (DEPLOY / "proxies" / "compose.Caddyfile").exists()


def test_monitoring_starts_only_when_it_is_asked_for() -> None:
    services = compose()["services"]
    assert {name for name, service in services.items() if "profiles" in service} == {"prometheus", "grafana"}


def test_gateways_believe_the_network_of_the_proxy() -> None:
    (network,) = compose()["networks"]["default"]["ipam"]["config"]
    assert compose()["services"]["gateway"]["environment"]["PARLEY_TRUSTED_PROXIES"] == network["subnet"]
