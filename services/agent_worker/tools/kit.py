"""What the tools of all agents share in one worker: the guarded client, and a caller for HTTP and for MCP tools."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from services.agent_worker.tools.http import RESULT_BYTES, HttpTools
from services.agent_worker.tools.mcp import McpServers
from shared.secrets import SecretBox
from shared.web.guarded_client import GuardedClient


class ToolKit:
    """Opens the client, which connects only when a tool is called."""

    def __init__(self, client: GuardedClient, secrets: SecretBox, *, result_bytes: int = RESULT_BYTES) -> None:
        self._client = client
        self.http = HttpTools(self._client, secrets, result_bytes=result_bytes)
        self.mcp = McpServers(self._client, secrets, result_bytes=result_bytes)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._client)
        await self._open.enter_async_context(self.mcp)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()
