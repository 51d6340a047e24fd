"""The official Python client of MCP, connected to a gateway in either generation of the protocol."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp.client.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"], ids=["2026-07-28", "2025-11-25"])
# For tests that take long: both revisions only where there is time.
LONG_MODES = pytest.mark.parametrize(
    "mode", ["auto", pytest.param("legacy", marks=pytest.mark.long)], ids=["2026-07-28", "2025-11-25"]
)


@asynccontextmanager
async def connected(base_url: str, key: str, mode: str) -> AsyncIterator[McpClient]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        McpClient(streamable_http_client(f"{base_url}/api/v1/mcp", http_client=http), mode=mode) as client,
    ):
        yield client
