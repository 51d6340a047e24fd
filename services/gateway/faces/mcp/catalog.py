"""The tools of a workspace: its published agents, newest first."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from services.gateway.call import Call
from services.gateway.faces.json_rpc import INVALID_PARAMS, RpcError
from services.gateway.faces.mcp.tools import slug_of, tool_shape
from shared.contracts.agent_records import AgentRecord
from shared.contracts.errors import ApiError, Code

PAGE: Final = 100
# Calls of history at a time. Only versions that this gateway has not seen yet are read.
WIDTH: Final = 8
_CURSOR: Final = re.compile(r"[\x21-\x7e]{1,500}")
T = TypeVar("T")
R = TypeVar("R")


async def tools_page(call: Call, cursor: Any) -> dict[str, Any]:
    """`{tools, nextCursor?}`. Raises RpcError for a cursor that is none, ApiError if history does not answer."""
    agents, following = await published_page(call, cursor)

    async def shape(agent: AgentRecord) -> dict[str, Any]:
        assert agent.published_version is not None
        known = await call.dependencies.agents.shown(call.workspace, agent.id, agent.published_version)
        return tool_shape(agent.slug, known)

    tools = await bounded(agents, shape)
    return {"tools": tools, **({"nextCursor": following} if following else {})}


async def published_page(call: Call, cursor: Any) -> tuple[list[AgentRecord], str | None]:
    """Those of a page of the workspace's agents that have been published, and the cursor of the next page."""
    if cursor is not None and not (isinstance(cursor, str) and _CURSOR.fullmatch(cursor)):
        raise RpcError(INVALID_PARAMS, "cursor must be the nextCursor of the page before.")
    query = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
    try:
        page = await call.dependencies.history.draft_list(call.workspace, query)
    except ApiError as error:
        if error.code is Code.INVALID_REQUEST:
            raise RpcError(INVALID_PARAMS, "cursor must be the nextCursor of the page before.") from None
        raise
    records = [AgentRecord.model_validate(item) for item in page["items"]]
    return [record for record in records if record.published_version is not None], page["nextCursor"]


async def bounded(items: list[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """The results in the order of the items, at most WIDTH of them under way at a time."""
    gate = asyncio.Semaphore(WIDTH)

    async def one(item: T) -> R:
        async with gate:
            return await work(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


async def agent_of(call: Call, tool: Any) -> str:
    """The id of the agent behind a tool. Raises RpcError for a tool that does not exist."""
    slug = slug_of(tool)
    try:
        if slug is not None:
            agent_id, _ = await call.dependencies.history.resolve_model(call.workspace, slug)
            return agent_id
    except ApiError as error:
        if error.code is not Code.MODEL_NOT_FOUND:
            raise
    shown = f" {tool[:100]}" if isinstance(tool, str) else ""
    raise RpcError(INVALID_PARAMS, f"Unknown tool{shown}. tools/list has the tools of this key.")
