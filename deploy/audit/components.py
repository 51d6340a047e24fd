"""The list of what Parley is made of (SBOM), in CycloneDX' JSON, by cyclonedx-py."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from shared.version import VERSION

REF: Final = "parley"
_VALIDATE: Final = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(str(fault) if fault else 0)
"""
# What a package's requirement says of it. The tool tells the whole line too, which is mostly hashes again.
_KEPT: Final = ("type", "bom-ref", "name", "version", "purl", "hashes", "externalReferences")


def bill_of_materials(python: Path, requirements: str) -> dict[str, Any]:
    """Valid by CycloneDX' schema, and the same for the same lock files. Raises CalledProcessError."""
    command = [
        str(python),
        "-I",
        "-m",
        "cyclonedx_py",
        "requirements",
        "-",
        "--output-reproducible",
        "--sv",
        "1.6",
        "--of",
        "JSON",
    ]
    done = subprocess.run(command, input=requirements, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    document = named(found)
    check = [str(python), "-I", "-c", _VALIDATE]
    subprocess.run(check, input=json.dumps(document), capture_output=True, text=True, check=True)
    return document


def named(document: dict[str, Any]) -> dict[str, Any]:
    """With Parley itself as what the packages belong to."""
    packages = [_shown(component) for component in document["components"]]
    licence = {"license": {"id": "Apache-2.0"}}
    itself = {"type": "application", "bom-ref": REF, "name": "parley", "version": VERSION, "licenses": [licence]}
    needs = [{"ref": REF, "dependsOn": [package["bom-ref"] for package in packages]}]
    return {
        **document,
        "metadata": {**document["metadata"], "component": itself},
        "components": packages,
        "dependencies": needs + [{"ref": package["bom-ref"]} for package in packages],
    }


def _shown(component: dict[str, Any]) -> dict[str, Any]:
    """A reference by name and version: the tool's, a line's number, changes with every other package."""
    ref = f"{component['name']}=={component['version']}"
    kept: dict[str, Any] = {name: component[name] for name in _KEPT if name in component}
    return kept | {"bom-ref": ref}
