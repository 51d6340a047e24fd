"""Knowledge sources of an agent: how they are added and shown, and the orders by which the ingest worker reads them."""

from typing import Annotated, Final, Literal

from pydantic import Field

from shared.contracts.agents import Passage
from shared.contracts.schema import Schema, Time

SourceKind = Literal["text", "faq", "file", "url", "sitemap"]
SourceState = Literal["pending", "processing", "indexed", "failed"]
MAX_UPLOAD: Final = 25 << 20
MAX_SOURCES: Final = 1_000
Tag = Annotated[str, Field(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=20)]
Title = Annotated[str, Field(max_length=500)]
Url = Annotated[str, Field(max_length=2000, pattern=r"^https?://")]
RefreshHours = Annotated[int, Field(ge=1, le=8760)]


class Source(Schema):
    """A source as its agent's authors see it. `reason` says why a source failed, or why its last re-reading did."""

    id: str
    agent_id: str
    kind: SourceKind
    title: str
    state: SourceState
    url: str | None = None
    file_name: str | None = None
    tags: tuple[str, ...] = ()
    size: int | None = Field(default=None, description="bytes of the content")
    pages: int = Field(default=0, description="pages read so far")
    passages: int = Field(default=0, description="passages made so far")
    reason: str | None = None
    refresh_hours: int | None = None
    created_at: Time
    updated_at: Time
    indexed_at: Time | None = None


class StoredContent(Schema):
    """What history says of bytes that it has put into the blob store."""

    size: int
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class NewSource(Schema):
    """An order to add a source. `content`: the text of a text or FAQ source; `stored`: a file that is uploaded."""

    id: str
    kind: SourceKind
    title: Title = ""
    url: Url | None = None
    tags: Tags = ()
    refresh_hours: RefreshHours | None = None
    file_name: str | None = Field(default=None, max_length=500)
    content_type: str = ""
    content: str | None = None
    stored: StoredContent | None = None
    actor: str | None = None


class SourcePatch(Schema):
    """Members that are None stay as they are."""

    title: Title | None = None
    url: Url | None = None
    tags: Tags | None = None
    refresh_hours: RefreshHours | None = None
    actor: str | None = None


class SourceCounts(Schema):
    """Of all sources of an agent."""

    pending: int = 0
    processing: int = 0
    indexed: int = 0
    failed: int = 0


class IngestJob(Schema):
    """A claimed source. `attempt` fences: a later claim has a higher one. `etag` is that of the last reading.

    `traceparent`: the span of the request that asked for the reading; "" without traces and for a refresh.
    """

    workspace: str
    agent_id: str
    source_id: str
    attempt: int
    kind: SourceKind
    title: str = ""
    url: str | None = None
    file_name: str | None = None
    content_type: str = ""
    etag: str | None = None
    traceparent: str = ""


class IngestProgress(Schema):
    attempt: int
    lease_s: float = Field(gt=0)
    pages: int = 0
    passages: int = 0


class IngestedPassages(Schema):
    """A batch: the first has the position `start`."""

    attempt: int
    start: int = Field(ge=0)
    passages: tuple[Passage, ...]


class IngestOutcome(Schema):
    """How an attempt ended. `requeued`: another worker shall read the source, after `delay_s`; `counts`: it was a try.

    `unchanged`: the URL answered that nothing has changed since the last reading.
    """

    attempt: int
    state: Literal["indexed", "failed", "requeued", "unchanged"]
    reason: str | None = Field(default=None, max_length=1000)
    title: str = Field(default="", max_length=500)
    pages: int = 0
    passages: int = 0
    etag: str | None = Field(default=None, max_length=500)
    delay_s: float = Field(default=0.0, ge=0)
    counts: bool = True


class VersionSource(Schema):
    """A source as a version was frozen with it. `passages`: how many it has there."""

    id: str
    title: str
    url: str | None = None
    passages: int


class SourceText(Schema):
    """What a version knows of a source: its passages as one text. `is_cut`: there is more than is told at once."""

    source: VersionSource
    text: str
    is_cut: bool = False
