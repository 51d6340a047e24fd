"""Finds the agent that a person names by its id or its slug."""

from typing import Any
from urllib.parse import urlencode

from deploy.cli.api import Api, Refused
from deploy.cli.exits import CliError, Exit
from shared.ids import is_id


async def find_agent(api: Api, name: str) -> dict[str, Any]:
    """The agent with its draft. Raises CliError."""
    found = await agent_or_none(api, name)
    if found is None:
        raise CliError(f"there is no agent {name}: see `parley agents list`", Exit.NOT_FOUND)
    return found


async def agent_or_none(api: Api, name: str) -> dict[str, Any] | None:
    agent_id = name if is_id("agt", name) else await _id_of_slug(api, name)
    if agent_id is None:
        return None
    try:
        return dict((await api.call("GET", f"/agents/{agent_id}")).data)
    except Refused as refused:
        if refused.code == "agent_not_found":
            return None
        raise


async def _id_of_slug(api: Api, slug: str) -> str | None:
    """An older server does not know the filter and lists all agents, so the slugs are compared."""
    async for page in api.pages(f"/agents?{urlencode({'slug': slug})}"):
        for agent in page:
            if agent["slug"] == slug:
                return str(agent["id"])
    return None
