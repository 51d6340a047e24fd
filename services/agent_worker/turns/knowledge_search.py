"""The searches of one attempt in its agent's knowledge, each with its frame in the run log."""

import asyncio
from typing import Final

from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.turns.citations import NumberedPassages, good_enough, without_texts
from services.agent_worker.turns.history_wait import until_history_answers
from shared.contracts.agents import AgentVersion
from shared.contracts.sessions import Retrieval, TurnMessage
from shared.run_log.writer import TurnWriter

# For the tool that searches, where the agent retrieves nothing by itself.
DEFAULT_TOP_K: Final = 4


class KnowledgeSearch:
    """`started` is set when history has recorded the attempt: nothing is written into the run log before."""

    def __init__(
        self, retriever: Retriever, workspace: str, version: AgentVersion, writer: TurnWriter, started: asyncio.Event
    ) -> None:
        self._retriever = retriever
        self._key = VersionKey(workspace, version.agent_id, version.number)
        self._config = version.config.knowledge
        self._top_k = self._config.top_k
        self._writer = writer
        self._started = started
        self.has_passages = version.passage_count > 0
        self.passages = NumberedPassages()
        self.made: list[Retrieval] = []  # The searches that the model made since the last look.

    @property
    def is_cited(self) -> bool:
        """Whether brackets with numbers in the answer are markers."""
        return self.has_passages and self._config.citations

    async def for_question(self, messages: tuple[TurnMessage, ...]) -> Retrieval | None:
        """The passages for the user's last message. None: the agent has no knowledge, or the user said nothing."""
        question = next((message.content for message in reversed(messages) if message.role == "user"), None)
        if not (self.has_passages and self._top_k and question):
            return None
        return await self._search(question, self._top_k)

    async def for_query(self, query: str) -> Retrieval:
        """The passages for a query that the model made."""
        retrieval = await self._search(query, self._top_k or DEFAULT_TOP_K)
        self.made.append(without_texts(retrieval))
        return retrieval

    async def _search(self, query: str, top_k: int) -> Retrieval:
        query = query[:MAX_QUERY]
        # Without its knowledge the agent would invent an answer, so the turn rather waits for history.
        passages = await until_history_answers(lambda: self._retriever.search(self._key, query, top_k))
        retrieval = Retrieval(query=query, passages=good_enough(passages, self._config.min_score))
        if self._config.citations:
            retrieval = self.passages.numbered(retrieval)
        await self._started.wait()
        self._writer.frame("kb_retrieval", retrieval.wire())
        return retrieval
