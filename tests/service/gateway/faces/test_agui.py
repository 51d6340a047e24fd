"""AG-UI's routes: threads and runs of the client, repeats, branches, tools of the client, and visitors."""

from typing import Any

import orjson

from shared.contracts.sessions import ToolCall
from tests.service.gateway.faces.visitors import SHOP, visitor_of
from tests.service.gateway.fakes import Stage, said


def user(text: str, message_id: str = "m-1") -> dict[str, Any]:
    return {"id": message_id, "role": "user", "content": text}


def run(*messages: dict[str, Any], run_id: str = "run-1", **more: Any) -> dict[str, Any]:
    return {"threadId": "thread 1", "runId": run_id, "messages": list(messages), "state": {}, "context": [], **more}


def path(gateway: Stage, rest: str = "") -> str:
    return gateway.url(f"/agents/{gateway.agent_id}/agui{rest}")


async def events(response: Any) -> list[dict[str, Any]]:
    assert response.status == 200, await response.text()
    blocks = (await response.read()).split(b"\n\n")
    return [orjson.loads(block.removeprefix(b"data: ")) for block in blocks if block.startswith(b"data: ")]


async def ran(gateway: Stage, body: dict[str, Any], *pieces: str) -> tuple[str, list[dict[str, Any]]]:
    known = len(gateway.history.turns)
    async with gateway.client.post(path(gateway), json=body) as response:
        turn_id = await gateway.admitted(known + 1)
        await gateway.answer(turn_id, *pieces)
        return turn_id, await events(response)


async def shown(gateway: Stage) -> list[dict[str, Any]]:
    async with gateway.client.get(path(gateway, "/thread%201/messages")) as response:
        found: list[dict[str, Any]] = (await response.json())["messages"]
        return found


async def test_a_thread_is_a_session_and_a_run_is_a_turn(gateway: Stage) -> None:
    assert await shown(gateway) == []
    props = {"metadata": {"plan": "pro"}, "anything": 1}
    first, told = await ran(gateway, run(user("Where?"), forwardedProps=props), "On ", "its way.")
    assert [told[0]["type"], told[-1]["type"]] == ["RUN_STARTED", "RUN_FINISHED"]
    [session] = gateway.history.kept_sessions.values()
    assert (session.client_id, session.metadata) == ("thread 1", {"plan": "pro"})
    messages = await shown(gateway)
    assert [each["id"] for each in messages] == ["m-1", f"{first}.0"]
    second, _ = await ran(gateway, run(*messages, user("When?", "m-2"), run_id="run-2"), "Soon.")
    orders = gateway.history.orders
    assert [orders[each].parent for each in (first, second)] == [None, first]
    assert [message.content for message in orders[second].messages] == ["When?"]


async def test_a_repeated_run_is_told_from_its_start_behind_a_snapshot(gateway: Stage) -> None:
    first, told = await ran(gateway, run(user("Where?")), "Here.")
    partial = {"id": f"{first}.0", "role": "assistant", "content": "He"}
    async with gateway.client.post(path(gateway), json=run(user("Where?"), partial)) as response:
        again = await events(response)
    assert again == [told[0], {"type": "MESSAGES_SNAPSHOT", "messages": [user("Where?")]}, *told[1:]]
    async with gateway.client.post(path(gateway), json=run(user("Why?"))) as response:
        assert (await response.json())["code"] == "idempotency_mismatch"


async def test_a_client_that_shows_less_begins_a_branch(gateway: Stage) -> None:
    first, _ = await ran(gateway, run(user("one")), "1")
    one = await shown(gateway)
    await ran(gateway, run(*one, user("two", "m-2"), run_id="run-2"), "2")
    third, _ = await ran(gateway, run(*one, user("three", "m-3"), run_id="run-3"), "3")
    again, _ = await ran(gateway, run(user("one"), run_id="run-4"), "1b")
    new, _ = await ran(gateway, run(user("other", "m-9"), run_id="run-5"), "9")
    orders = gateway.history.orders
    assert (orders[third].parent, orders[again].instead_of) == (first, first)
    assert (orders[new].parent, orders[new].instead_of) == (None, None), "an unknown message alone is just the next one"


async def test_the_clients_tools_and_context_are_offered_and_their_results_taken(gateway: Stage) -> None:
    tool = {"name": "color", "description": "", "parameters": {"type": "object"}}
    given: dict[str, Any] = {"tools": [tool], "context": [{"description": "page", "value": "shop"}]}
    known = len(gateway.history.turns)
    async with gateway.client.post(path(gateway), json=run(user("Which?"), **given)) as response:
        turn_id = await gateway.admitted(known + 1)
        calling = said("", (ToolCall(id="call_1", name="color", arguments="{}"),))
        await gateway.history.finish(turn_id, 1, [calling], finish_reason="tool_calls")
        told = await events(response)
    completion = gateway.history.orders[turn_id].completion
    assert completion is not None
    assert [each.function["name"] for each in completion.tools] == ["color"]
    name = next(each["toolCallId"] for each in told if each["type"] == "TOOL_CALL_START")
    result = {"id": "t-1", "role": "tool", "toolCallId": name, "content": "blue"}
    second, _ = await ran(gateway, run(*(await shown(gateway)), result, run_id="run-2"), "Blue.")
    [message] = gateway.history.orders[second].messages
    assert (message.role, message.tool_call_id, message.content) == ("tool", "call_1", "blue")


async def test_bad_runs_are_refused_before_there_is_a_session(gateway: Stage) -> None:
    for body, status in (
        (run(), 422),
        (run(user(" ")), 422),
        ({**run(user("x")), "threadId": ""}, 400),
        ({**run(user("x")), "runId": "x" * 201}, 400),
        (run(user("x"), tools=[{"name": "not a name"}]), 422),
        (run(user("x"), tools=[{"name": f"n{n}"} for n in range(129)]), 422),
        (run(user("x"), context=[{"description": "a", "value": "x" * 100_001}]), 422),
    ):
        async with gateway.client.post(path(gateway), json=body) as response:
            assert response.status == status, body
    assert gateway.history.kept_sessions == {}


async def test_a_visitor_runs_the_thread_of_its_own_session_without_tools(gateway: Stage) -> None:
    session, headers = await visitor_of(gateway)
    body = {**run(user("Where?")), "threadId": session}
    async with gateway.client.post(path(gateway), json=body, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        await gateway.answer(await gateway.admitted(), "Here.")
        assert (await events(response))[-1]["type"] == "RUN_FINISHED"
    for changed, status in (({"threadId": "thread 1"}, 404), ({"context": [{"description": "a", "value": "b"}]}, 400)):
        async with gateway.client.post(path(gateway), json={**body, **changed}, headers=headers) as response:
            assert response.status == status


async def test_stopping_cancels_the_threads_run(gateway: Stage) -> None:
    async with gateway.client.post(path(gateway), json=run(user("Where?"))):
        turn_id = await gateway.admitted()
        for _ in range(2):
            async with gateway.client.post(path(gateway, "/thread%201/stop")) as response:
                assert await response.json() == {"success": True}
    assert set(gateway.history.cancelled) == {turn_id}
