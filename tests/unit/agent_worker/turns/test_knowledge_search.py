import asyncio
from datetime import UTC, datetime
from typing import Any

from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.turns.knowledge_search import KnowledgeSearch
from shared.contracts.agents import AgentConfig, AgentVersion, ModelChoice
from shared.contracts.sessions import Message, RetrievedPassage, TurnMessage


class Asked:
    """A retriever that finds one passage for each query, and remembers the queries."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        self.queries.append(query)
        return [RetrievedPassage(id=query, source_id="s", title="", text=query, score=1.0)]


class Frames:
    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def frame(self, kind: str, data: dict[str, Any]) -> None:
        self.written.append(data)


def said(text: str) -> TurnMessage:
    return TurnMessage(id="msg_1", role="user", content=text, created_at=datetime(2026, 1, 1, tzinfo=UTC))


async def queries(messages: tuple[TurnMessage, ...], context: tuple[Message, ...]) -> list[str]:
    retriever, started = Asked(), asyncio.Event()
    started.set()
    config = AgentConfig(name="a", model=ModelChoice(name="m"))
    version = AgentVersion(agent_id="agt_1", number=1, config=config, passage_count=3)
    search = KnowledgeSearch(retriever, "acme", version, Frames(), started)  # type: ignore[arg-type]
    await search.for_question(messages, context)
    return retriever.queries


async def test_the_search_reads_the_last_two_user_messages() -> None:
    context = (
        Message(role="user", content="When do you open on Mondays?"),
        Message(role="assistant", content="At nine."),
    )
    assert await queries((said("And on Sundays?"),), context) == [
        "And on Sundays?",
        "When do you open on Mondays? And on Sundays?",
    ]


async def test_several_questions_are_searched_one_by_one() -> None:
    asked = await queries((said("When do you open? Where do you deliver to?"),), ())
    assert asked == ["When do you open?", "Where do you deliver to?"]


async def test_a_turn_without_a_user_message_searches_nothing() -> None:
    assert await queries((), (Message(role="user", content="When do you open?"),)) == []
