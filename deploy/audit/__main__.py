"""`python -m deploy.audit advisories|sbom PYTHON LOCK…`; PYTHON is the interpreter that has the tools."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.audit.advisories import audited
from deploy.audit.components import bill_of_materials
from deploy.audit.locks import merged

SBOM: Final = Path("sbom.cdx.json")


def main(task: str, python: str, locks: Sequence[str]) -> int:
    requirements = merged(Path(lock).read_text() for lock in locks)
    if task == "advisories":
        status, lines = audited(Path(python), requirements)
        sys.stdout.write("\n".join(lines) + "\n")
        return status
    document = bill_of_materials(Path(python), requirements)
    SBOM.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"sbom: {len(document['components'])} packages in {SBOM}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
