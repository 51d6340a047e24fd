"""`make audit` and `make sbom`: lock files become one list, and a source that does not answer is told."""

from typing import Any

import pytest

from deploy.audit.advisories import SKIPPED, verdict
from deploy.audit.components import named
from deploy.audit.locks import DifferentPins, merged
from shared.version import VERSION

ONE = """\
aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via -r requirements.in
idna==3.20 \\
    --hash=sha256:cc
"""
OTHER = """\
# of a tool
idna==3.20 \\
    --hash=sha256:cc
    # via yarl
zstd==1.0 \\
    --hash=sha256:dd
"""


def test_lock_files_are_merged_into_one_entry_for_each_package() -> None:
    assert merged([ONE, OTHER]).splitlines() == [
        "aiohttp==3.14.5 \\",
        "    --hash=sha256:aa \\",
        "    --hash=sha256:bb",
        "idna==3.20 \\",
        "    --hash=sha256:cc",
        "zstd==1.0 \\",
        "    --hash=sha256:dd",
    ]


def test_two_versions_of_one_package_are_refused() -> None:
    with pytest.raises(DifferentPins, match=r"idna has two versions: 3\.20 and 3\.19"):
        merged([ONE, OTHER.replace("3.20", "3.19")])


def test_an_audit_without_a_source_is_skipped_and_says_so() -> None:
    unknown = {"dependencies": [{"name": "idna", "skip_reason": "Dependency not found on PyPI"}]}
    reports: tuple[dict[str, Any] | None, ...] = (None, {}, {"dependencies": []}, unknown)
    for report in reports:
        assert verdict(report) == (0, [SKIPPED])


def test_a_known_vulnerability_fails_the_audit_and_an_unknown_package_is_told() -> None:
    fault = {"id": "PYSEC-2026-1", "fix_versions": ["3.21"]}
    report: dict[str, Any] = {
        "dependencies": [
            {"name": "idna", "version": "3.20", "vulns": [fault]},
            {"name": "zstd", "version": "1.0", "vulns": []},
            {"name": "own", "skip_reason": "Dependency not found on PyPI"},
        ]
    }
    status, lines = verdict(report)
    assert status == 1
    assert lines[-1] == "audit: idna 3.20: PYSEC-2026-1, mended in 3.21"
    assert "audit: not looked up: own" in lines
    report["dependencies"][0]["vulns"] = []
    assert verdict(report)[0] == 0


def test_the_list_names_parley_and_each_package_by_name_and_version() -> None:
    package = {
        "type": "library",
        "bom-ref": "requirements-L1",
        "name": "idna",
        "version": "3.20",
        "description": "line",
    }
    document = named({"metadata": {"tools": {}}, "components": [package], "dependencies": [{"ref": "requirements-L1"}]})
    assert document["metadata"]["component"]["name"] == "parley"
    assert document["metadata"]["component"]["version"] == VERSION
    assert document["components"] == [{"type": "library", "bom-ref": "idna==3.20", "name": "idna", "version": "3.20"}]
    assert document["dependencies"] == [{"ref": "parley", "dependsOn": ["idna==3.20"]}, {"ref": "idna==3.20"}]
