"""`python -m deploy.site [--check]`: writes the built pages, or names those that are out of date."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.site.pages import pages

DIST: Final = Path(__file__).parents[2] / "services/gateway/site/dist"


def stale() -> dict[Path, str | None]:
    """The files that must be written, with their text. None: it must go."""
    wanted = {DIST / name: text for name, text in pages().items()}
    changed: dict[Path, str | None] = {
        path: text for path, text in wanted.items() if not path.exists() or path.read_bytes() != text.encode()
    }
    return changed | {path: None for path in DIST.glob("*") if path not in wanted}


def main(arguments: Sequence[str]) -> int:
    found = stale()
    if "--check" in arguments:
        for path in found:
            sys.stderr.write(f"{path.name} is out of date: run `make site`\n")
        return 1 if found else 0
    for path, text in found.items():
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
        sys.stdout.write(f"wrote {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
