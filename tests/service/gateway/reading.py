"""Reading streams in tests."""

from typing import Any, NamedTuple

import aiohttp
import orjson


class Frame(NamedTuple):
    id: str | None
    event: str
    data: dict[str, Any]


async def blocks(response: aiohttp.ClientResponse) -> list[str]:
    """The stream's blocks up to its end, comments included. Raises aiohttp.ClientPayloadError when it is broken off."""
    return [block for block in (await response.content.read()).decode().split("\n\n") if block]


def frame_of(block: str) -> Frame:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return Frame(fields.get("id"), fields["event"], orjson.loads(fields["data"]))


async def frames(response: aiohttp.ClientResponse) -> list[Frame]:
    return [frame_of(block) for block in await blocks(response) if not block.startswith(":")]


def chunk_of(block: str) -> dict[str, Any]:
    chunk: dict[str, Any] = orjson.loads(block.removeprefix("data: "))
    return chunk


async def next_block(response: aiohttp.ClientResponse) -> str:
    """The next block that is no comment."""
    while True:
        block = (await response.content.readuntil(b"\n\n")).decode().removesuffix("\n\n")
        if not block.startswith(":"):
            return block
