"""`python -m tests.contracts.record [COMMIT] [DIRECTORY]`: records what a release's processes say to each other.

Without a commit the working tree is recorded. CONTRIBUTING says when.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.contracts import schema_file
from tests.contracts.binaries import deflated
from tests.contracts.finale import documents, leave_work, redis_values
from tests.contracts.later_scenes import play_later, read_later
from tests.contracts.normal import normal, one_a_line, template_of, unlike
from tests.contracts.rig import Rig
from tests.contracts.scenes import Scenes, caller
from tests.system.stack import ROOT
from tests.system.upgrade.release import Release

HERE: Final = Path(__file__).parent
_SCOPES: Final = "from shared.contracts.keys import SECRET_SCOPES; print(*sorted(SECRET_SCOPES))"


async def recorded(release: Release | None, directory: Path, scopes: frozenset[str] | None = None) -> dict[str, str]:
    """The recording's files by their names. `scopes` of the key: all that the release has, or these."""
    async with Rig(directory, release) as rig:
        await rig.start_services()
        client = await caller(rig, scopes if scopes is not None else scopes_of(release))
        scenes = Scenes(rig, client)
        await scenes.play()
        await play_later(scenes)
        first_read = len(rig.calls)
        await scenes.read_all()
        await read_later(scenes)
        last_read = len(rig.calls)
        turns = await leave_work(rig, scenes)
        state = {
            "turns": turns,
            "redis": await redis_values(rig.redis),
            "documents": await documents(rig.stack.mongodb_uri),
        }
        ended_at = datetime.now(UTC)
        reads = [call for call in rig.calls[first_read:last_read] if call["caller"] == "gateway"]
        del rig.calls[first_read:last_read]
        return _files(rig, state, reads, ended_at) | {"schemas.json": _schemas(release)}


def _files(rig: Rig, state: dict[str, Any], reads: list[Any], ended_at: datetime) -> dict[str, str]:
    calls = unlike(
        ((call["caller"], call["method"], template_of(call["path"]), call["status"]), call) for call in rig.calls
    )
    # A frame's first line names its event; other messages have one line.
    published = unlike(
        ((template_of(channel), data.split("\n")[0] if "\n" in data else ""), [channel, data])
        for channel, data in rig.published
    )
    whole = {
        "calls": calls,
        "reads": unlike((template_of(call["path"]), call) for call in reads if call["method"] == "GET"),
        "published": published,
        **state,
    }
    told = json.loads(normal(json.dumps(whole), ended_at))
    rows = [{"collection": name, "document": row} for name, found in told["documents"].items() for row in found]
    # Lists of wake-up tokens are named after processes that are gone.
    keys = [{"key": name, **value} for name, value in told["redis"].items() if ":wake" not in name]
    return {
        "calls.json": one_a_line(told["calls"]),
        "reads.json": one_a_line(told["reads"]),
        "published.json": one_a_line(told["published"]),
        "redis.json": one_a_line(keys),
        "documents.json": one_a_line(map(deflated, rows)),
        "turns.json": json.dumps(told["turns"], indent=1) + "\n",
    }


def scopes_of(release: Release | None) -> frozenset[str]:
    return frozenset(_run(_SCOPES, release).split())


def _schemas(release: Release | None) -> str:
    told = _run((HERE / "schemas.py").read_text(), release, *schema_file.ARGUMENTS)
    return schema_file.text(schema_file.with_calls(json.loads(told)))


def _run(program: str, release: Release | None, *arguments: str) -> str:
    """What a program prints that imports the release's packages."""
    tree = release.tree if release is not None else ROOT
    command = [sys.executable, "-", *arguments]
    told = subprocess.run(command, input=program, cwd=tree, check=True, capture_output=True, text=True)
    return told.stdout


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("commit", nargs="?", help="default: the working tree")
    arguments.add_argument("directory", nargs="?", type=Path, default=ROOT / ".parley" / "recorded")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        release = Release.checked_out(given.commit, Path(scratch) / "release") if given.commit else None
        files = asyncio.run(recorded(release, Path(scratch) / "run"))
    given.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (given.directory / name).write_text(text)
        print(f"{len(text):8} {given.directory / name}")


if __name__ == "__main__":
    main()
