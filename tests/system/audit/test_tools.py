"""The tools of `make audit` and `make sbom`, as they are locked, on the lock files of this repository."""

import re

import pytest

from deploy.audit.advisories import SKIPPED, audited
from deploy.audit.components import bill_of_materials
from deploy.audit.locks import merged
from tests.system.openai.python_client import installed
from tests.system.stack import ROOT


@pytest.mark.long
def test_the_list_of_a_release_is_valid_and_names_what_the_lock_file_pins() -> None:
    """The tool's output is validated by CycloneDX' schema as it is written."""
    requirements = merged([(ROOT / "requirements.lock").read_text(), (ROOT / "requirements-cli.lock").read_text()])
    python = installed("audit", ROOT / "deploy")
    document = bill_of_materials(python, requirements)
    assert document["bomFormat"] == "CycloneDX"
    listed = {(component["name"], component["version"]) for component in document["components"]}
    assert listed == set(re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s\\;]+)", requirements))
    assert all(component["externalReferences"][0]["hashes"] for component in document["components"])
    assert document == bill_of_materials(python, requirements)


@pytest.mark.long
def test_an_audit_without_a_source_of_advisories_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # Nobody listens there.
    monkeypatch.setenv("NO_PROXY", "")
    python = installed("audit", ROOT / "deploy")
    assert audited(python, merged([(ROOT / "requirements-cli.lock").read_text()])) == (0, [SKIPPED])
