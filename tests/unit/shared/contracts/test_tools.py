from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.agents import AgentConfig
from shared.contracts.tools import BuiltinTool, HttpTool, McpTool

WITH_ID = {"type": "object", "properties": {"id": {}}, "required": ["id"]}


def agent(*tools: dict[str, Any]) -> AgentConfig:
    return AgentConfig.model_validate({"name": "Mia", "model": {"name": "m"}, "tools": list(tools)})


def http(**given: Any) -> dict[str, Any]:
    return {"name": "look_up", "url": "https://shop.example/x", **given}


def mcp(**given: Any) -> dict[str, Any]:
    return {"kind": "mcp", "name": "crm", "url": "https://crm.example/mcp", "allow": ["find"], **given}


def test_a_tool_without_a_kind_is_an_http_tool() -> None:
    kinds = [type(tool) for tool in agent(http(), mcp(), {"kind": "builtin", "builtin": "current_time"}).tools]
    assert kinds == [HttpTool, McpTool, BuiltinTool]


def test_an_agent_survives_the_wire() -> None:
    config = agent(http(url="https://shop.example/{id}", parameters=WITH_ID), mcp())
    assert AgentConfig.model_validate(config.wire()) == config


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (http(url="https://{id}.example/", parameters=WITH_ID), "fixed host"),
        (http(url="https://shop.example:{id}/", parameters=WITH_ID), "fixed host"),
        (http(url="https://{id}/", parameters=WITH_ID), "fixed host"),
        (http(url="{id}://shop.example/", parameters=WITH_ID), "http://"),
        (http(url="ftp://shop.example/"), "http://"),
        (http(url="/orders"), "http://"),
        (http(url="https://user:password@shop.example/"), "secretHeaders"),
        (http(url="https://shop.example/{id}"), "not one of the tool's parameters"),
        (http(url="https://shop.example/{id}", parameters={"properties": {"id": {}}}), "must be required"),
        (http(url="https://shop.example/{id}", parameters={"properties": 7, "required": 7}), "not one of"),
        (http(url="https://shop.example/{id", parameters=WITH_ID), "brace"),
        (http(url="https://shop.example/{a b}"), "brace"),
        (http(name="two words"), "name"),
        (http(headers={"X-A": "a\r\nX-B: b"}), "one line"),
        (http(headers={"X A": "a"}), "header's name"),
        (http(secretHeaders={"X-A": {"value": "a\nb"}}), "one line"),
        (http(signingSecret={"value": "password"}), "whsec_"),
        (http(timeoutS=61), "timeoutS"),
        (http(maxCallsPerTurn=0), "maxCallsPerTurn"),
        (mcp(allow=[]), "allow"),
        (mcp(url="https://crm.example/{id}"), "no variables"),
        ({"kind": "builtin", "builtin": "collect"}, "collect"),
        ({"kind": "builtin", "builtin": "current_time", "parameters": {}}, "collect"),
        ({"kind": "shell", "name": "x"}, "tag"),
    ],
)
def test_a_tool_that_cannot_work_is_refused_with_what_to_change(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        agent(given)
    assert complaint in str(caught.value)


def test_two_tools_of_one_name_are_refused() -> None:
    for one, other in (
        (http(), http()),
        (http(name="crm"), mcp()),
        ({"kind": "builtin", "builtin": "collect", "parameters": {}},) * 2,
    ):
        with pytest.raises(ValidationError, match="two tools have the name"):
            agent(one, other)


def test_a_refusal_does_not_show_the_secrets_of_what_it_refuses() -> None:
    with pytest.raises(ValidationError) as caught:
        agent(http(secretHeaders={"X A": {"value": "canary"}}, signingSecret={"value": "canary"}))
    assert "canary" not in str(caught.value)
