from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest

from services.agent_worker.tools.builtin import Effects
from services.agent_worker.tools.kit import ToolKit
from services.agent_worker.tools.result import ToolFailure, ToolResult
from services.agent_worker.tools.toolbox import Toolbox
from services.agent_worker.tools.turn_tools import TurnScope, TurnTools
from shared.contracts.sessions import Retrieval, RetrievedPassage, ToolCall

Make = Any


class FakeKit:
    """Stands for the callers of HTTP and MCP tools. `fault` is what a call raises."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], str, str]] = []
        self.fault: Exception | None = None
        self.http = self

    async def call(self, tool: Any, arguments: dict[str, Any], key: str, workspace: str) -> str:
        self.calls.append((tool.name, arguments, key, workspace))
        if self.fault is not None:
            raise self.fault
        return "fine"


class Turn:
    def __init__(
        self, agent: Any, *, in_session: bool = True, passages: tuple[RetrievedPassage, ...] | None = None
    ) -> None:
        self.kit = FakeKit()
        self.recorded: list[str] = []
        self.refuses_record = False

        async def record(key: str) -> None:
            self.recorded.append(key)
            if self.refuses_record:
                raise ConnectionError

        async def search(query: str) -> Retrieval:
            return Retrieval(query=query, passages=passages or ())

        scope = TurnScope(
            workspace="acme", in_session=in_session, record=record, search=None if passages is None else search
        )
        self.tools = TurnTools(cast("ToolKit", self.kit), Toolbox(agent), scope)

    async def run(self, arguments: str = "{}", name: str = "look_up") -> ToolResult:
        return await self.tools.run(ToolCall(id="call_1", name=name, arguments=arguments), "key")

    @property
    def offered(self) -> list[str]:
        return [str(definition["function"]["name"]) for definition in self.tools.definitions()]


def builtin(which: str, **given: Any) -> dict[str, Any]:
    return {"kind": "builtin", "builtin": which, **given}


async def test_a_call_goes_out_with_its_key_and_its_workspace(make: Make) -> None:
    turn = Turn(make.agent(tools=[make.tool()]))
    result = await turn.run('{"a":1}')
    assert (result.ok, result.text) == (True, "fine")
    assert turn.kit.calls == [("look_up", {"a": 1}, "key", "acme")]


@pytest.mark.parametrize("parameters", [{"type": 7}, {"properties": []}, {"minimum": "one"}, {"type": "nonsense"}])
async def test_an_invalid_schema_costs_its_tool_and_not_the_agent(make: Make, parameters: dict[str, Any]) -> None:
    turn = Turn(make.agent(tools=[make.tool(parameters=parameters), make.tool("good")]))
    assert (await turn.run()).text == "The tool's schema is not usable."
    assert (await turn.run(name="good")).ok


async def test_a_tool_that_the_agent_has_not_is_an_error_result(make: Make) -> None:
    turn = Turn(make.agent())
    result = await turn.run(name="delete_everything")
    assert (result.ok, result.text) == (False, "There is no such tool.")
    assert turn.kit.calls == []


@pytest.mark.parametrize(
    ("fault", "text"), [(RuntimeError("secret detail"), "The tool failed."), (ToolFailure("HTTP 500"), "HTTP 500")]
)
async def test_a_failing_tool_gives_an_error_result(make: Make, fault: Exception, text: str) -> None:
    turn = Turn(make.agent(tools=[make.tool()]))
    turn.kit.fault = fault
    result = await turn.run()
    assert (result.ok, result.text) == (False, text)


async def test_the_calls_of_one_tool_in_one_turn_are_limited(make: Make) -> None:
    turn = Turn(make.agent(tools=[make.tool(max_calls_per_turn=2), make.tool("other")]))
    results = [await turn.run() for _ in range(3)]
    assert [result.ok for result in results] == [True, True, False]
    assert "any more in this turn" in results[2].text
    assert (await turn.run(name="other")).ok


async def test_calls_with_bad_arguments_do_not_count(make: Make) -> None:
    turn = Turn(make.agent(tools=[make.tool(max_calls_per_turn=1)]))
    assert not (await turn.run("{")).ok
    assert (await turn.run()).ok


async def test_a_never_retry_call_is_recorded_before_it_is_made(make: Make) -> None:
    turn = Turn(make.agent(tools=[make.tool(retry="never")]))
    assert (await turn.run()).ok
    assert turn.recorded == ["key"]
    turn.refuses_record = True
    with pytest.raises(ConnectionError):
        await turn.run()
    assert len(turn.kit.calls) == 1, "no record, no call"


async def test_a_call_that_is_not_made_is_not_recorded(make: Make) -> None:
    turn = Turn(make.agent(tools=[make.tool(retry="never", max_calls_per_turn=1)]))
    await turn.run("{")
    assert turn.recorded == []
    await turn.run()
    await turn.run()
    assert turn.recorded == ["key"]


# --- builtin tools


async def test_builtin_tools_are_offered_under_their_names(make: Make) -> None:
    form = {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}
    tools = [
        builtin("current_time"),
        builtin("search_knowledge", name="search_docs"),
        builtin("end_session"),
        builtin("collect", name="lead", parameters=form),
    ]
    agent = make.agent(tools=tools)
    assert Turn(agent).offered == ["current_time", "search_docs", "end_session", "lead"]
    assert Turn(agent, in_session=False).offered == ["current_time", "search_docs"], "a completion has no session"


async def test_the_current_time_is_told_in_any_zone(make: Make) -> None:
    turn = Turn(make.agent(tools=[builtin("current_time")]))
    before = datetime.now(UTC).isoformat(timespec="seconds")
    told = await turn.run(name="current_time")
    assert told.ok
    assert before <= told.text.partition('"time":"')[2].partition('"')[0] <= datetime.now(UTC).isoformat()
    assert "+00:00" in told.text
    for zone in ("Mars/Olympus", "../../etc/passwd", "/etc/passwd", "\x00"):
        bad = await turn.run(orjson.dumps({"timezone": zone}).decode(), name="current_time")
        assert not bad.ok
        assert "no time zone" in bad.text


async def test_the_knowledge_base_can_be_searched(make: Make) -> None:
    passage = RetrievedPassage(source_id="s", title="Hours", text="Open until ten.", score=1.0)
    agent = make.agent(tools=[builtin("search_knowledge")])
    found = await Turn(agent, passages=(passage,)).run('{"query":"hours"}', name="search_knowledge")
    assert found.ok
    assert "Open until ten." in found.text
    assert (await Turn(agent, passages=()).run('{"query":"x"}', name="search_knowledge")).text == "Nothing was found."
    assert not (await Turn(agent).run('{"query":"x"}', name="search_knowledge")).ok


async def test_the_end_of_a_session_and_its_form_are_effects_of_the_turn(make: Make) -> None:
    form = {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}
    turn = Turn(make.agent(tools=[builtin("end_session"), builtin("collect", parameters=form)]))
    refused = await turn.run('{"email":7}', name="collect")
    assert not refused.ok
    assert "$.email" in refused.text
    assert turn.tools.effects == Effects()
    await turn.run('{"email":"a@b.example"}', name="collect")
    assert turn.tools.effects == Effects(collected={"collect": {"email": "a@b.example"}})
    await turn.run(name="end_session")
    assert turn.tools.effects == Effects(collected={"collect": {"email": "a@b.example"}}, end_session=True)
