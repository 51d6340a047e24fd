"""`/chat/completions` as bytes: what SDKs hide from those who use them."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.system.stack import Client


@dataclass
class Wire:
    """A stream as it came: its blocks with their times since the request, and whether it was broken off."""

    answer: aiohttp.ClientResponse
    began: float
    blocks: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    broken: bool = False

    async def next_block(self) -> str:
        """Empty at a clean end. Raises aiohttp.ClientPayloadError when the connection breaks."""
        raw = await self.answer.content.readuntil(b"\n\n")
        if raw:
            assert raw.endswith(b"\n\n"), raw
            self.blocks.append(raw.decode().removesuffix("\n\n"))
            self.times.append(time.monotonic() - self.began)
        return raw.decode()

    async def read(self) -> "Wire":
        """Everything that comes."""
        try:
            while await self.next_block():
                pass
        except aiohttp.ClientPayloadError:
            self.broken = True
        return self

    @property
    def data(self) -> list[Any]:
        """The `data:` of the blocks that are no comments; `[DONE]` stays text."""
        texts = [block.removeprefix("data: ") for block in self.blocks if not block.startswith(":")]
        return ["[DONE]" if text == "[DONE]" else orjson.loads(text) for text in texts]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [item for item in self.data if item != "[DONE]"]

    @property
    def text(self) -> str:
        return "".join(
            chunk["choices"][0]["delta"].get("content") or "" for chunk in self.chunks if chunk.get("choices")
        )


def asking(model: str, question: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}], **more}


@asynccontextmanager
async def streaming(client: Client, model: str, question: str = "hello", **more: Any) -> AsyncIterator[Wire]:
    began = time.monotonic()
    async with client.request("POST", "/chat/completions", asking(model, question, stream=True, **more)) as answer:
        assert answer.status == 200, await answer.text()
        yield Wire(answer, began)


def function(name: str) -> Any:
    """A tool that a caller offers."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {
        "type": "function",
        "function": {"name": name, "description": f"The {name} of a city.", "parameters": parameters},
    }
