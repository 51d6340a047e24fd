"""MCP tools: what each server offers, cached for a while, and calls that end at once when they are cancelled."""

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Final, Self, TypeVar

import orjson
from cachetools import LRUCache

from services.agent_worker.tools.arguments import MAX_DEPTH, is_shallow
from services.agent_worker.tools.http import RESULT_BYTES, headers_with_secrets
from services.agent_worker.tools.result import ToolFailure
from services.agent_worker.tools.toolbox import Entry, entry_of
from shared.contracts.tools import McpTool
from shared.log import get_logger
from shared.secrets import SecretBox
from shared.single_flight import SingleFlight
from shared.tasks import end_tasks
from shared.web.guarded_client import GuardedClient

log = get_logger()
T = TypeVar("T")

LIST_TIMEOUT_S: Final = 5.0
CACHE_S: Final = 300.0
# Without this, every turn would wait for a server that does not answer.
FAILURE_CACHE_S: Final = 10.0
KEPT_SERVERS: Final = 512
MAX_DESCRIPTION: Final = 4096
MAX_SCHEMA: Final = 32 * 1024
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What a server offers. `generation` is None if the server could not be asked."""

    entries: tuple[Entry, ...]
    generation: Any
    until: float


class McpServers:
    """All agents' MCP servers.

    The cache key contains the workspace and the tool's whole configuration, so no answer is shared across credentials.
    """

    def __init__(self, client: GuardedClient, secrets: SecretBox, *, result_bytes: int = RESULT_BYTES) -> None:
        self._client = client
        self._secrets = secrets
        self._result_bytes = result_bytes
        self._known = LRUCache[bytes, _Known](KEPT_SERVERS)
        self._questions = SingleFlight[bytes, _Known]()
        self._tasks = set[asyncio.Task[Any]]()
        self._library: ModuleType | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._questions.end()
        await end_tasks(self._tasks)

    # --- what servers offer

    async def entries(self, workspace: str, tools: tuple[McpTool, ...]) -> list[Entry]:
        """The allowed tools of these servers. A server that cannot be asked has no tools until it is asked again."""
        known = await asyncio.gather(*(self._know(workspace, tool) for tool in tools))
        return [entry for one in known for entry in one.entries]

    async def _know(self, workspace: str, tool: McpTool) -> _Known:
        key = _key(workspace, tool)
        known = self._known.get(key)
        if known is not None and known.until > asyncio.get_running_loop().time():
            return known
        # Turns that start together ask once. The call goes on when the first of them is cancelled.
        return await self._questions.run(key, lambda: self._ask(workspace, tool, key))

    async def _ask(self, workspace: str, tool: McpTool, key: bytes) -> _Known:
        now = asyncio.get_running_loop().time
        try:
            library = await self._load()
            async with asyncio.timeout(LIST_TIMEOUT_S):
                generation, offered = await library.list_tools(self._server(library, workspace, tool))
            known = _Known(entries=_entries(tool, offered), generation=generation, until=now() + CACHE_S)
        except (ToolFailure, TimeoutError) as error:
            log.warning("mcp_server_unavailable", reason=str(error) or "timeout")
            known = _Known(entries=(), generation=None, until=now() + FAILURE_CACHE_S)
        except Exception:
            # Whatever the server answers, the turn must go on without its tools.
            log.exception("mcp_server_unreadable")
            known = _Known(entries=(), generation=None, until=now() + FAILURE_CACHE_S)
        self._known[key] = known
        return known

    # --- calls

    async def call(self, workspace: str, entry: Entry, arguments: dict[str, Any]) -> str:
        """The result's text, shortened to the limit for results. Raises ToolFailure. A cancelled call ends at once."""
        tool = entry.tool
        assert isinstance(tool, McpTool)
        known = await self._know(workspace, tool)
        if known.generation is None:
            raise ToolFailure("The tool's server is not available.")
        library = await self._load()
        server = self._server(library, workspace, tool)
        task = self._background(library.call_tool(server, known.generation, entry.remote, arguments))
        try:
            async with asyncio.timeout(tool.timeout_s):
                text = await asyncio.shield(task)
        except TimeoutError:
            raise ToolFailure(f"The tool did not answer within {tool.timeout_s:g} s.") from None
        except ToolFailure as failure:
            if isinstance(failure, library.ServerFault):
                # Perhaps it was replaced by another generation, or has other tools now: the next turn asks it again.
                self._known.pop(_key(workspace, tool), None)
            raise ToolFailure(_shortened(str(failure), self._result_bytes)) from None
        finally:
            # The package tells the server about it in the background: a slow server must not delay the turn.
            task.cancel()
        return _shortened(text, self._result_bytes)

    # --- shared steps

    def _server(self, library: ModuleType, workspace: str, tool: McpTool) -> Any:
        """Raises ToolFailure where a secret cannot be read."""
        headers = headers_with_secrets(self._secrets, workspace, tool.headers, tool.secret_headers)
        return library.Server(client=self._client, url=tool.url, headers=headers)

    async def _load(self) -> ModuleType:
        """Raises ToolFailure where the package is not installed."""
        if self._library is None:
            try:
                self._library = await asyncio.to_thread(_import)
            except ImportError:
                raise ToolFailure("This worker cannot call MCP servers: requirements-mcp is not installed.") from None
        return self._library

    def _background(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Marks it as read: after a cancelled call nobody else does.


def _import() -> ModuleType:
    from services.agent_worker.tools import mcp_client

    return mcp_client


def _key(workspace: str, tool: McpTool) -> bytes:
    return orjson.dumps([workspace, tool.wire()])


def _entries(tool: McpTool, offered: list[Any]) -> tuple[Entry, ...]:
    """The allowed tools, under names that every model accepts. If two get the same name, the first one is kept."""
    found: dict[str, Entry] = {}
    for one in offered:
        name = _NOT_A_NAME.sub("_", f"{tool.name}_{one.name}")[:64]
        if one.name not in tool.allow or name in found:
            continue
        if not is_shallow(one.parameters, MAX_DEPTH) or len(orjson.dumps(one.parameters)) > MAX_SCHEMA:
            log.warning("mcp_tool_dropped", tool=name, reason="schema too long or too deep")
            continue
        found[name] = entry_of(tool, name, one.description[:MAX_DESCRIPTION], one.parameters, one.name)
    return tuple(found.values())


def _shortened(text: str, limit: int) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[:limit].decode("utf-8", "ignore") + "\n[The rest of the result is left out.]"
