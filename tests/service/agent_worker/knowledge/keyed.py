"""A retriever whose versions exist in history, so that their sets have keys."""

from collections.abc import Iterable
from typing import Any

from services.agent_worker.knowledge.retriever import Retriever, VersionKey
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError
from shared.contracts.sessions import RetrievedPassage
from tests.service.history.running import History


class Keyed:
    def __init__(self, inner: Retriever, history: History) -> None:
        self._inner = inner
        self._history = history

    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        rows = list(passages)
        agent = f"{version.workspace}:{version.agent_id}"
        await self._put("agents", {"_id": agent, "workspace": version.workspace, "agentId": version.agent_id})
        found = {"agent": agent, "number": version.number, "ownPassages": len(rows), "passageCount": len(rows)}
        await self._put("agent_versions", {"_id": f"{agent}:{version.number}", **found})
        await self._inner.publish(await self._keyed(version), rows)

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        return await self._inner.search(await self._keyed(version), query, top_k)

    async def drop(self, version: VersionKey) -> None:
        await self._inner.drop(await self._keyed(version))

    async def close(self) -> None:
        await self._inner.close()

    async def _keyed(self, version: VersionKey) -> VersionKey:
        try:
            found = await self._history.client.version_knowledge(*version[:3])
        except ApiError:
            return version
        return version._replace(knowledge=found.key)

    async def _put(self, collection: str, document: dict[str, Any]) -> None:
        await self._history.documents[collection].replace_one({"_id": document["_id"]}, document, upsert=True)
