"""The searches of one attempt in its agent's knowledge, each with its frame in the run log."""

import asyncio
from typing import Final

from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.metrics import RETRIEVAL_SECONDS
from services.agent_worker.turns.retrieval import DEFAULT_TOP_K, retrieved
from shared.citations import NumberedPassages, good_enough, without_texts
from shared.contracts.agents import AgentVersion
from shared.contracts.sessions import Message, Retrieval, TurnMessage
from shared.run_log.writer import TurnWriter
from shared.tracing.spans import Value, span

# Characters of passages that a message may have of the model's own searches. The tools' results have them too.
MAX_STORED: Final = 1 << 18


class KnowledgeSearch:
    """`started` is set when history has recorded the attempt: nothing is written into the run log before."""

    def __init__(
        self, retriever: Retriever, workspace: str, version: AgentVersion, writer: TurnWriter, started: asyncio.Event
    ) -> None:
        self._retriever = retriever
        self._key = VersionKey(workspace, version.agent_id, version.number)
        self._config = version.config.knowledge
        self._facts: dict[str, Value] = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": f"{version.agent_id}@{version.number}",
            "gen_ai.request.top_k": self._config.top_k,
        }
        self._top_k = self._config.top_k
        self._writer = writer
        self._started = started
        self.has_passages = version.passage_count > 0
        self.passages = NumberedPassages()
        self.made: list[Retrieval] = []  # The searches that the model made since the last look.
        self._room = MAX_STORED

    @property
    def is_cited(self) -> bool:
        """Whether brackets with numbers in the answer are markers."""
        return self.has_passages and self._config.citations

    async def for_question(
        self, messages: tuple[TurnMessage, ...], context: tuple[Message, ...] = ()
    ) -> Retrieval | None:
        """The passages for the user's last message, read with the one before it.

        `context`: the messages of earlier turns. None: the agent has no knowledge, or the user said nothing.
        """
        said = [message.content for message in (*context, *messages) if message.role == "user" and message.content]
        if not (self.has_passages and self._top_k and said and any(m.role == "user" and m.content for m in messages)):
            return None
        return await self._search(said[-1], self._top_k, said[-2] if len(said) > 1 else None)

    async def for_query(self, query: str) -> Retrieval:
        """The passages for a query that the model made."""
        retrieval = await self._search(query, self._top_k or DEFAULT_TOP_K)
        self.made.append(self._storable(retrieval))
        return retrieval

    def _storable(self, retrieval: Retrieval) -> Retrieval:
        """The search for the stored message: without texts once they would make the turn's document too large."""
        size = sum(len(passage.text) for passage in retrieval.passages)
        if size > self._room:
            return without_texts(retrieval)
        self._room -= size
        return retrieval

    async def _search(self, query: str, top_k: int, before: str | None = None) -> Retrieval:
        query = query[:MAX_QUERY]
        with span("retrieval", attributes=self._facts) as opened, RETRIEVAL_SECONDS.time():
            passages = await retrieved(self._retriever, self._key, query, top_k, before)
            opened.set({"parley.passages": len(passages)})
        retrieval = Retrieval(query=query, passages=good_enough(passages, self._config.min_score))
        if self._config.citations:
            retrieval = self.passages.numbered(retrieval)
        await self._started.wait()
        self._writer.frame("kb_retrieval", retrieval.wire())
        return retrieval
