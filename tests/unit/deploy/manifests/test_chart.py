"""The Helm chart renders, its objects follow three versions of Kubernetes, and wrong values are refused."""

from typing import Any, Final

import pytest

from tests.unit.deploy.manifests.checkers import CHART, complaints, objects, render, run

VERSIONS: Final = ("1.31", "1.34", "1.37")
# Objects of operators, which Kubernetes' own schemas do not have.
FOREIGN: Final = {"ScaledObject", "ExternalSecret", "PodMonitor"}
EVERYTHING: Final[dict[str, Any]] = {
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "settings": {"PARLEY_LOG_LEVEL": "info"},
    "internalTls": {"secretName": "tls"},
    "secret": {"externalSecret": {"enabled": True, "storeName": "vault"}},
    "gateway": {"autoscaling": {"enabled": True}, "nodeSelector": {"disk": "fast"}, "podAnnotations": {"a": "b"}},
    "worker": {"autoscaling": {"enabled": True}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
    "ingress": {"enabled": True, "host": "parley.example", "className": "nginx", "tlsSecretName": "cert"},
    "overview": {"enabled": True},
    "podMonitor": {"enabled": True, "labels": {"release": "monitoring"}},
    "networkPolicy": {"gatewayFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]},
}
SCHEMAS: Final = """
import json, sys
import kubernetes_validate
for document in json.load(sys.stdin):
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            print(version, document["kind"], error.message)
"""


def kinds(documents: list[dict[str, Any]]) -> dict[str, int]:
    found = [document["kind"] for document in documents]
    return {kind: found.count(kind) for kind in sorted(set(found))}


def test_helm_lint_has_no_complaint() -> None:
    done = run("helm", "lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_a_plain_release_has_a_deployment_a_budget_and_a_policy_for_each_process() -> None:
    assert kinds(objects()) == {"Deployment": 4, "NetworkPolicy": 4, "PodDisruptionBudget": 4, "Service": 2}


def test_a_full_release_has_the_objects_of_the_operators_too() -> None:
    assert kinds(objects(values=EVERYTHING)) == {
        "Deployment": 4,
        "ExternalSecret": 1,
        "Ingress": 1,
        "NetworkPolicy": 4,
        "PodDisruptionBudget": 4,
        "PodMonitor": 4,
        "ScaledObject": 2,
        "Service": 6,
    }


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["plain", "full"])
def test_the_objects_follow_three_versions_of_kubernetes(values: dict[str, Any]) -> None:
    own = [document for document in objects(values=values) if document["kind"] not in FOREIGN]
    assert complaints(SCHEMAS, own, *VERSIONS) == []


def test_the_schemas_would_refuse_a_misspelt_member() -> None:
    (deployment, *_) = [document for document in objects() if document["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    assert len(complaints(SCHEMAS, [deployment], *VERSIONS)) == len(VERSIONS)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gatway": {}}, "gatway"),
        ({"worker": {"replicas": 0}}, "/worker/replicas"),
        ({"worker": {"autoscaling": {"minReplicas": 0}}}, "minReplicas"),
        ({"settings": {"PARLEY_PORT": "1"}}, "PARLEY_PORT"),
        ({"settings": {"PARLEY_MAX_TURNS": 50}}, "PARLEY_MAX_TURNS"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"secret": {"externalSecret": {"enabled": True}}}, "storeName"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    done = render(values=values)
    assert done.returncode != 0
    assert named in done.stderr
