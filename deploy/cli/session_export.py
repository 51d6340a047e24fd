"""The export of sessions as the server streams it, over connections that may break: each session once, and whole."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson

from deploy.cli.api import Api, Refused, Unreachable
from deploy.cli.exits import CliError, Exit

PATH: Final = "/chat/sessions/export"
TRIES: Final = 5
FIRST_PAUSE_S: Final = 0.2
# A line holds a whole turn.
MAX_LINE: Final = 64 << 20
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


async def exported(api: Api, query: list[tuple[str, str]]) -> AsyncGenerator[dict[str, Any], None]:
    """`{"session": …, "messages": […]}` of every session, oldest first.

    A connection that breaks is followed by another one, which goes on behind the last whole session. Raises CliError:
    Refused, or Unreachable after several tries without a session.
    """
    after: str | None = None
    tries, pause_s = 0, FIRST_PAUSE_S
    while True:
        try:
            async with aclosing(_once(api, query, after)) as documents:
                async for document in documents:
                    after = document["session"]["id"]
                    tries, pause_s = 0, FIRST_PAUSE_S
                    yield document
            return
        except (aiohttp.ClientError, TimeoutError, OSError, _CutOff, Refused) as error:
            if isinstance(error, Refused) and error.status not in _AGAIN:
                raise
            tries += 1
            if tries == TRIES:
                raise _given_up(api, error) from None
        await asyncio.sleep(pause_s)
        pause_s *= 2


class _CutOff(Exception):
    """The answer ended before its last line."""


def _given_up(api: Api, error: Exception) -> CliError:
    if isinstance(error, _CutOff):
        return Unreachable(f"{api.target.url} broke the export off {TRIES} times: try again later")
    return error if isinstance(error, CliError) else api.unreachable(error)


async def _once(api: Api, query: list[tuple[str, str]], after: str | None) -> AsyncGenerator[dict[str, Any], None]:
    """The sessions of one connection that are whole. Raises _CutOff."""
    asked = [*query, *([("after", after)] if after else [])]
    path = PATH + (f"?{urlencode(asked)}" if asked else "")
    document: dict[str, Any] | None = None
    async with api.open("GET", path, stream=True) as response:
        if response.status != 200:
            await api.refuse("GET", path, response)
        async for line in _lines(response.content):
            row = orjson.loads(line)
            if row["type"] == "turn" and document is not None:
                document["messages"] += row["messages"]
                continue
            if document is not None:
                yield document
            if row["type"] == "end":
                return
            document = {"session": row["session"], "messages": []}
    raise _CutOff


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines. What follows the last line feed is the part of a line, and is left out."""
    kept: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join((*kept, line))
            kept, size = [], 0
        kept.append(rest)
        size += len(rest)
        if size > MAX_LINE:
            raise CliError(f"a line of the export is longer than {MAX_LINE >> 20} MiB", Exit.FAILED)
