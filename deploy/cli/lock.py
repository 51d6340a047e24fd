"""`agent.yaml.lock`: which agent a file is on each server, and the revision of the draft that its author saw last.

It lies beside the file and belongs into git with it: a colleague who pulls both may apply, and one whose file is older
may not.
"""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from deploy.cli.config import write_whole
from deploy.cli.exits import CliError, Exit


class Seen(NamedTuple):
    """`checks`: the revision of the agent's checks, None while the file has not brought any."""

    agent_id: str
    revision: int
    checks: int | None = None


class Lock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._servers: dict[str, dict[str, Any]] = {}

    @classmethod
    def beside(cls, source: Path) -> "Lock":
        """Raises CliError for a file that is not a lock, such as one with a merge conflict."""
        lock = cls(source.with_name(source.name + ".lock"))
        try:
            value = orjson.loads(lock._file.read_bytes())
            lock._servers = {str(url): _entry(_seen(seen)) for url, seen in value["servers"].items()}
        except FileNotFoundError:
            pass
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            message = f"{lock._file} is not valid: remove it, then apply with --overwrite"
            raise CliError(message, Exit.BAD_FILE) from None
        return lock

    def seen(self, url: str) -> Seen | None:
        found = self._servers.get(url)
        return _seen(found) if found else None

    def note(self, url: str, seen: Seen) -> None:
        if self.seen(url) != seen:
            self._servers[url] = _entry(seen)
            write_whole(self._file, {"servers": dict(sorted(self._servers.items()))}, 0o644)


def _seen(entry: dict[str, Any]) -> Seen:
    checks = entry.get("checksRevision")
    return Seen(str(entry["agentId"]), int(entry["revision"]), None if checks is None else int(checks))


def _entry(seen: Seen) -> dict[str, Any]:
    checks = {} if seen.checks is None else {"checksRevision": seen.checks}
    return {"agentId": seen.agent_id, "revision": seen.revision, **checks}
