"""Sources of knowledge as resources of the MCP server: only of agents that share them, and as they were published."""

from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from tests.conftest import eventually
from tests.system.faces.mcp_client import LONG_MODES, connected
from tests.system.stack import Client, Stack

TEXT = "Rinse the blue filter every 17 days with cold water."


async def published_agent(client: Client, name: str, **knowledge: Any) -> tuple[str, str]:
    """The agent and its source."""
    draft = {"name": name, "model": {"name": "demo/extractive"}, "knowledge": knowledge}
    _, body = await client.call("POST", "/agents", draft)
    agent = str(body["data"]["id"])
    source = {"kind": "text", "title": "Manual", "text": TEXT}
    _, body = await client.call("POST", f"/agents/{agent}/knowledge/sources", source)
    status, published = await client.call("POST", f"/agents/{agent}/publish")
    assert status == 202, published

    async def is_published() -> bool:
        _, found = await client.call("GET", f"/agents/{agent}/versions/1")
        return bool(found["data"]["state"] == "published")

    await eventually(is_published, within_s=30.0, what="the published version")
    return agent, str(body["data"]["id"])


def uri_of(agent: str, source: str) -> str:
    return f"parley://agents/{agent}/sources/{source}"


@LONG_MODES
async def test_the_sources_of_an_agent_that_shares_them_can_be_read(stack: Stack, client: Client, mode: str) -> None:
    shared = await published_agent(client, f"Sharing {mode}", shareSources=True)
    private = await published_agent(client, f"Private {mode}")
    async with connected(client.base_url, stack.facts["secretKey"], mode) as mcp:
        found = {str(resource.uri): resource for resource in (await mcp.list_resources()).resources}
        assert uri_of(*shared) in found
        assert uri_of(*private) not in found
        assert found[uri_of(*shared)].name == "Manual"
        (content,) = (await mcp.read_resource(uri_of(*shared))).contents
        assert content.mime_type == "text/plain"
        assert TEXT in content.text  # type: ignore[union-attr]
        assert (await mcp.list_resource_templates()).resource_templates == []
        for absent in (uri_of(*private), uri_of(shared[0], private[1]), "parley://agents/x/sources/y", "file:///etc"):
            with pytest.raises(MCPError, match="no such resource"):
                await mcp.read_resource(absent)
        # A purged source is gone from the published version too.
        await client.call("DELETE", f"/agents/{shared[0]}/knowledge/sources/{shared[1]}?purge=true")
        with pytest.raises(MCPError, match="no such resource"):
            await mcp.read_resource(uri_of(*shared))
