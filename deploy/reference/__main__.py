"""`python -m deploy.reference [--check]`: writes the generated files, or names those that are out of date."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.reference import env_example, errors, frames, metrics, mongodb, scopes, settings

DEPLOY: Final = Path(__file__).parents[1]


def pages() -> dict[Path, str]:
    return {
        DEPLOY / "env.example": env_example.page(),
        DEPLOY / "reference/errors.md": errors.page(),
        DEPLOY / "reference/frames.md": frames.page(),
        DEPLOY / "reference/metrics.md": metrics.page(),
        DEPLOY / "reference/mongodb.md": mongodb.page(),
        DEPLOY / "reference/scopes.md": scopes.page(),
        DEPLOY / "reference/settings.md": settings.page(),
    }


def main(arguments: Sequence[str]) -> int:
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(DEPLOY.parent)} is out of date: run `make reference`\n")
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"wrote {path.relative_to(DEPLOY.parent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
