"""An agent's sources, as the gateway adds them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from shared.contracts.agent_records import NewAgent, PublishOrder, VersionRecord
from shared.contracts.agents import Passage
from shared.contracts.knowledge import NewSource, Source
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History


@dataclass(frozen=True)
class Knowledge:
    history: History
    agent_id: str

    @classmethod
    async def of_new_agent(cls, history: History) -> "Knowledge":
        draft = {"name": "Ada", "model": {"name": "m"}}
        agent = await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=draft))
        return cls(history, agent.id)

    async def text(self, content: str, **members: Any) -> Source:
        order = NewSource(id=new_id("src"), kind="text", content=content, **members)
        return await self.history.client.create_source(WORKSPACE, self.agent_id, order)

    async def url(self, url: str, **members: Any) -> Source:
        order = NewSource.model_validate({"id": new_id("src"), "kind": "url", "url": url, **members})
        return await self.history.client.create_source(WORKSPACE, self.agent_id, order)

    async def file(self, name: str, raw: bytes) -> Source:
        async def content() -> AsyncIterator[bytes]:
            for start in range(0, len(raw), 1 << 16):
                yield raw[start : start + (1 << 16)]

        new = new_id("src")
        stored = await self.history.client.upload_source(WORKSPACE, self.agent_id, new, content())
        order = NewSource(id=new, kind="file", file_name=name, stored=stored)
        return await self.history.client.create_source(WORKSPACE, self.agent_id, order)

    async def get(self, source: Source) -> Source:
        return await self.history.client.source(WORKSPACE, self.agent_id, source.id)

    async def ended(self, source: Source) -> Source:
        async def is_ended() -> bool:
            return (await self.get(source)).state in ("indexed", "failed")

        await eventually(is_ended, within_s=30.0, what=f"the end of {source.id}")
        return await self.get(source)

    async def publish(self) -> VersionRecord:
        record = await self.history.client.publish_draft(WORKSPACE, self.agent_id, PublishOrder())

        async def is_published() -> bool:
            found = await self.history.client.version_record(WORKSPACE, self.agent_id, record.number)
            return found.state != "preparing"

        await eventually(is_published, within_s=30.0, what="a published version")
        return await self.history.client.version_record(WORKSPACE, self.agent_id, record.number)

    async def passages(self, number: int) -> list[Passage]:
        return await self.history.client.passages(WORKSPACE, self.agent_id, number)

    async def delete(self, source: Source, *, purge: bool = False) -> None:
        await self.history.client.delete_source(WORKSPACE, self.agent_id, source.id, "key_1", purge=purge)

    async def left_of(self, source: Source) -> list[str]:
        """The collections that hold anything of the source."""
        documents = self.history.documents
        found = []
        for name in ("sources", "passages", "blobs.files", "blobs.chunks"):
            rows = await documents[name].find({}).to_list(None)
            if any(source.id in str(row) for row in rows):
                found.append(name)
        return found
