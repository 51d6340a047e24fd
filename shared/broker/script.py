"""Lua scripts: read once from `.lua` files, called by their hash."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis.exceptions import NoScriptError

from shared.broker.redis_py import Command

# The scripts' names by their hashes: those of the program, so they are few.
_NAMES: Final[dict[str, str]] = {}


class Script(NamedTuple):
    """A Lua script. Redis knows it by its hash once it has run."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str, name: str = "script") -> "Script":
        sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
        _NAMES.setdefault(sha, name)
        return cls(text, sha)

    @classmethod
    def read(cls, *paths: Path) -> "Script":
        """The files' texts, one after the other."""
        return cls.of("\n".join(path.read_text(encoding="utf-8") for path in paths), paths[-1].stem)

    def command(self, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]) -> Command:
        """For a Redis that knows the script; any other answers NoScriptError."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    async def run(
        self, call: Callable[..., Awaitable[Any]], keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]
    ) -> Any:
        """The script's answer. `call` sends one command (a client's `execute_command`, or a connection's `call`).

        Raises what `call` raises.
        """
        try:
            return await call(*self.command(keys, arguments))
        except NoScriptError:
            return await call("EVAL", self.text, len(keys), *keys, *arguments)


def operation_of(command: Command) -> str:
    """What a command does, in a metric: its name, or the name of the script that it runs."""
    name = command[0]
    if name == "EVALSHA":
        return _NAMES.get(str(command[1]), "script")
    return str(name).lower()
