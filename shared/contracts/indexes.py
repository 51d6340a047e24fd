"""Search indexes of versions: made by the ingest worker while a version is `preparing`, kept as blobs, fetched by
workers.
"""

from typing import Final, Literal

from pydantic import Field

from shared.contracts.schema import NAME_PATTERN, Schema

# A part's name says who made it and in which format, such as `fts5-4`.
PART_PATTERN: Final = r"[a-z0-9-]{1,64}"
DIGEST_PATTERN: Final = r"[0-9a-f]{64}"
MAX_LOOKED_UP: Final = 1_000


class IndexPart(Schema):
    """One file of an index. `digest` is the SHA-256 of its bytes."""

    digest: str
    size: int


class VersionKnowledge(Schema):
    """The set of passages of a version. Equal sets of an agent have one key; a purged source changes it.

    `key` is empty for a version without passages. `parts`: the index files that are kept, by their names. `vectors`:
    the spaces of which MongoDB has all of the set's vectors.
    """

    key: str
    parts: dict[str, IndexPart] = Field(default_factory=dict)
    vectors: tuple[str, ...] = ()


class VersionName(Schema):
    workspace: str = Field(pattern=NAME_PATTERN)
    agent_id: str = Field(pattern=NAME_PATTERN)
    number: int = Field(ge=1)


class LookUpSets(Schema):
    """A worker asks whether what it holds is still there: the versions that it answers for, and its files' keys."""

    versions: tuple[VersionName, ...] = Field(default=(), max_length=MAX_LOOKED_UP)
    keys: tuple[str, ...] = Field(default=(), max_length=MAX_LOOKED_UP)


class CurrentSets(Schema):
    """`versions`: the keys of the versions' sets, in the order of the question; empty: there is no such version.

    `keys`: those of the asked ones that still exist.
    """

    versions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class IndexJob(Schema):
    """A set whose index shall be built. `version` has it. `attempt` fences: a later claim has a higher one.

    `traceparent`: the span of the request that published the version; "" without traces.
    """

    workspace: str
    agent_id: str
    version: int
    key: str
    attempt: int
    traceparent: str = ""


class IndexLease(Schema):
    attempt: int
    lease_s: float = Field(gt=0)


class IndexOutcome(Schema):
    """How an attempt ended. `requeued`: another worker shall build it, after `delay_s`; `counts`: it was a try."""

    attempt: int
    state: Literal["built", "requeued"]
    delay_s: float = Field(default=0.0, ge=0)
    counts: bool = True
