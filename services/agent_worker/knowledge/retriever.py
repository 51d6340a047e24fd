"""The protocol of every retriever. An operator who runs a vector store implements these four methods for it."""

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage

MAX_QUERY: Final = 4000


class VersionKey(NamedTuple):
    """An agent version's passages never change.

    Those of number 0, the draft, may change at any time and are never kept. `knowledge` is the key of the version's set
    of passages, where it is known: it changes when a source is purged, and equal sets have one.
    """

    workspace: str
    agent_id: str
    number: int
    knowledge: str = ""


class Retriever(Protocol):
    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        """Makes a version's passages searchable. May be repeated."""

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        """The best passages for a text as a person types it, best first; higher scores are better. Raises ApiError.

        Only the first `MAX_QUERY` characters of the text count.
        """

    async def drop(self, version: VersionKey) -> None:
        """The version is not needed any more. May be repeated."""

    async def close(self) -> None:
        """Frees what is held. No method is called afterwards."""
