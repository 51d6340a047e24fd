"""The example of `deploy/TOOLS.md` is one that an agent can have."""

import json
import re
from pathlib import Path

from shared.contracts.agents import AgentConfig
from shared.contracts.tools import BuiltinTool, HttpTool, McpTool

PAGE = Path(__file__).parents[3] / "deploy" / "TOOLS.md"


def test_the_example_is_a_valid_agents_tools() -> None:
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    config = AgentConfig.model_validate({"name": "Mia", "model": {"name": "m"}, "tools": json.loads(found[1])})
    assert [type(tool) for tool in config.tools] == [HttpTool, McpTool, BuiltinTool]
