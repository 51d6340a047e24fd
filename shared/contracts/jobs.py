"""Jobs that go through the queue. They hold ids only: jobs are logged, and they live as long as their turns."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

# Raised when existing members change their meaning. New members do not raise it: workers ignore those that they do not
# know.
SCHEMA_VERSION: Final = 1
# The flow of jobs that name none. `turn_queue/lua/prelude.lua` has it too.
DEFAULT_FLOW: Final = "default"
# What jobs of before schema versions have, in their order.
_POSITIONAL: Final = ("workspace", "turn_id", "agent_id", "agent_version")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UndecodableJob(Exception):
    """No worker of this version can run the job. Repeating does not help."""


class RunTurn(NamedTuple):
    """The order to run a turn. The job's id is the turn's.

    Waiting jobs are dealt to their `flow`s in turn, `weight` jobs at a time; it is the caller's key. `enqueued_at`:
    when the turn was admitted, in ms since 1970; 0 stands for the time of enqueueing. `request_id`: the request that
    asked for the turn. `traceparent`: the span of a trace that admitted it; "" without traces.
    """

    workspace: str
    turn_id: str
    agent_id: str
    agent_version: int
    flow: str = DEFAULT_FLOW
    weight: int = 1
    enqueued_at: int = 0
    request_id: str = ""
    traceparent: str = ""

    def members(self) -> dict[str, str | int]:
        """The job's named members."""
        return {"schema_version": SCHEMA_VERSION, **self._asdict()}

    @classmethod
    def parse(cls, positional: Sequence[Any], named: Mapping[str, Any]) -> "RunTurn":
        """From named members, or from the four positional ones of jobs older than schema versions.

        Raises UndecodableJob.
        """
        if positional:
            if len(positional) != len(_POSITIONAL) or named:
                raise UndecodableJob(f"{len(positional)} positional members")
            named = dict(zip(_POSITIONAL, positional, strict=True))
        version = named.get("schema_version", 0)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise UndecodableJob(f"schema version {version}")
        if absent := [name for name in _POSITIONAL if name not in named]:
            raise UndecodableJob(f"no member {absent[0]!r}")
        job = cls(**{name: named[name] for name in cls._fields if name in named})
        texts = (job.workspace, job.turn_id, job.agent_id, job.flow, job.request_id, job.traceparent)
        if not all(isinstance(text, str) for text in texts):
            raise UndecodableJob("a member has another type")
        if not all(type(number) is int for number in (job.agent_version, job.weight, job.enqueued_at)):
            raise UndecodableJob("a member has another type")
        return job


def flow_of(workspace: str, key_id: str | None) -> str:
    """The flow of a caller's turns: its key, or its workspace where there is no key."""
    return key_id or workspace


def checks_flow(workspace: str) -> str:
    """The flow of a workspace's checks, so that a run of checks delays no caller."""
    return f"checks:{workspace}"


def enqueued_ms(admitted_at: datetime) -> int:
    return (admitted_at - _EPOCH) // timedelta(milliseconds=1)
