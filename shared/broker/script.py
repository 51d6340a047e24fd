"""Lua scripts: read once from `.lua` files, called by their hash."""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from shared.broker.redis_py import Command


class Script(NamedTuple):
    """A Lua script. Redis knows it by its hash once it has run."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> "Script":
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def read(cls, *paths: Path) -> "Script":
        """The files' texts, one after the other."""
        return cls.of("\n".join(path.read_text(encoding="utf-8") for path in paths))

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
