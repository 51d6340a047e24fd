"""Starts the MCP server of the tests as a child process and ends it by its pid."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class McpProcess:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def seen(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self.port}/seen") as answer:
            seen: dict[str, Any] = await answer.json()
            return seen


@asynccontextmanager
async def mcp_server(*arguments: str) -> AsyncIterator[McpProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.mcp.server", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            yield McpProcess(int(await process.stdout.readline()))
    finally:
        process.terminate()
        await process.wait()
