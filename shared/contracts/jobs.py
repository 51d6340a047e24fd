"""Jobs that go through the queue. They hold ids only: jobs are logged, and they live as long as their turns."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

# Raised when existing members change their meaning. New members do not raise it: workers ignore those that they do not
# know.
SCHEMA_VERSION: Final = 1


class UndecodableJob(Exception):
    """No worker of this version can run the job. Repeating does not help."""


class RunTurn(NamedTuple):
    """The order to run a turn. The job's id is the turn's."""

    workspace: str
    turn_id: str
    agent_id: str
    agent_version: int

    def members(self) -> dict[str, str | int]:
        """The job's named members."""
        return {"schema_version": SCHEMA_VERSION, **self._asdict()}

    @classmethod
    def parse(cls, positional: Sequence[Any], named: Mapping[str, Any]) -> "RunTurn":
        """From named members, or from the four positional ones of jobs older than schema versions.

        Raises UndecodableJob.
        """
        if positional:
            if len(positional) != len(cls._fields) or named:
                raise UndecodableJob(f"{len(positional)} positional members")
            named = dict(zip(cls._fields, positional, strict=True))
        version = named.get("schema_version", 0)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise UndecodableJob(f"schema version {version}")
        try:
            job = cls(*(named[name] for name in cls._fields))
        except KeyError as error:
            raise UndecodableJob(f"no member {error}") from None
        *texts, number = job
        if not all(isinstance(text, str) for text in texts) or type(number) is not int:
            raise UndecodableJob("a member has another type")
        return job
