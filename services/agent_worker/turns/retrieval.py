"""Retrieval as turns do it: a message's questions, searched beside each other and merged."""

import asyncio
from typing import Final

from services.agent_worker.knowledge.queries import merged, queries_of
from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.turns.history_wait import until_history_answers
from shared.contracts.sessions import RetrievedPassage

# For the tool that searches and for previews, where the agent retrieves nothing by itself.
DEFAULT_TOP_K: Final = 4


async def retrieved(
    retriever: Retriever, version: VersionKey, query: str, top_k: int, before: str | None = None
) -> list[RetrievedPassage]:
    """The best passages for a message, read with the one `before` it. It waits while history is away."""
    questions, in_context = queries_of(query[:MAX_QUERY], before)
    # Merging needs passages that are not the best for one query alone.
    most = top_k if len(questions) == 1 and in_context is None else 2 * top_k

    async def search(text: str) -> list[RetrievedPassage]:
        # Without its knowledge the agent would invent an answer, so the turn rather waits for history.
        return await until_history_answers(lambda: retriever.search(version, text, most))

    searches = [search(text) for text in (*questions, *([in_context] if in_context else ()))]
    found = await asyncio.gather(*searches)
    return merged(found[: len(questions)], found[-1] if in_context else (), top_k)
