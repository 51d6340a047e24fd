"""Previews of retrieval: what a question finds in an agent's knowledge, and what a model would be shown of it."""

from typing import Any, Literal

from pydantic import Field

from shared.contracts.schema import Schema
from shared.contracts.sessions import PassageName

Leg = Literal["words", "trigrams", "vectors", "reranker"]


class PreviewOrder(Schema):
    """From a gateway to any worker. `version` 0 is the draft. After `deadline_ms` (Unix time) nobody waits for it."""

    id: str
    workspace: str
    agent_id: str
    version: int = 0
    query: str
    top_k: int = Field(ge=1)
    deadline_ms: int


class PreviewedPassage(PassageName):
    """`marker` is the number under which a model would be shown the passage. `used`: its score reaches `minScore`.

    `legs`: what found it. `words`: terms of the question; `trigrams`: words that are spelled like the question's;
    `vectors`: the meaning; `reranker`: it has put the passage into its place.
    """

    text: str
    score: float = Field(description="0 to 1, as `minScore`")
    legs: tuple[Leg, ...] = ()
    marker: int | None = None
    used: bool = True


class KnowledgePreview(Schema):
    """`prompt`: the part of the system message that the passages would form; empty without one that is used."""

    query: str
    version: int = Field(description="0 for the draft")
    passages: tuple[PreviewedPassage, ...] = ()
    prompt: str = ""


class PreviewReply(Schema):
    """A worker's answer: the preview, or the problem document of an error."""

    preview: KnowledgePreview | None = None
    problem: dict[str, Any] | None = None
