"""Responses over a real gateway; history and the worker are played."""

import asyncio
from typing import Any

import orjson
import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.sessions import ToolCall
from shared.ids import new_id
from tests.conftest import eventually
from tests.response_documents import checked_events, checked_response
from tests.service.gateway.fakes import Stage, said

Answer = tuple[int, dict[str, Any]]


async def call(gateway: Stage, method: str, path: str, **more: Any) -> Answer:
    async with gateway.client.request(method, gateway.url("/responses" + path), **more) as response:
        body = await response.read()
        if response.status == 200 and orjson.loads(body).get("status"):
            checked_response(body)
        return response.status, orjson.loads(body)


async def ask(gateway: Stage, text: str = "There.", **more: Any) -> dict[str, Any]:
    """A response that has ended, as its caller got it."""
    known = len(gateway.history.turns)
    post = asyncio.create_task(call(gateway, "POST", "", json={"model": gateway.agent_id, "input": "hi", **more}))
    await gateway.answer(await gateway.admitted(known + 1), text)
    status, answer = await post
    assert status == 200, answer
    return answer


async def stream(gateway: Stage, method: str, path: str, *, is_whole: bool = True, **more: Any) -> list[dict[str, Any]]:
    async with gateway.client.request(method, gateway.url("/responses" + path), **more) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        return checked_events(await response.read(), is_whole=is_whole)


def turn_of(response: dict[str, Any]) -> str:
    return "trn_" + str(response["id"]).removeprefix("resp_")


async def test_a_response_is_a_turn_of_a_new_session(gateway: Stage) -> None:
    response = await ask(gateway, metadata={"a": "b"}, instructions="Be brief.", user="ann", temperature=0.5)
    order = gateway.history.orders[turn_of(response)]
    session = await gateway.history.session("ws_one", str(order.session_id))
    assert (session.agent_id, session.metadata, session.end_user and session.end_user.id) == (
        gateway.agent_id,
        {"a": "b"},
        "ann",
    )
    assert order.completion is not None
    assert (order.completion.instructions, order.completion.parameters) == ("Be brief.", {"temperature": 0.5})
    assert response["conversation"] == {"id": session.id}
    assert response["output"][0]["content"][0]["text"] == "There."
    assert (response["status"], response["usage"]["total_tokens"]) == ("completed", 10)
    assert await call(gateway, "GET", f"/{response['id']}") == (200, response)


async def test_a_response_that_is_not_stored_has_no_session(gateway: Stage) -> None:
    response = await ask(gateway, store=False)
    assert gateway.history.kept_sessions == {}
    assert (response["conversation"], response["store"]) == (None, False)
    assert (await call(gateway, "GET", f"/{response['id']}"))[0] == 404


async def test_a_stream_ends_with_the_response_that_is_stored(gateway: Stage) -> None:
    body = {"model": gateway.agent_id, "input": "hi", "stream": True}
    post = asyncio.create_task(stream(gateway, "POST", "", json=body))
    await gateway.answer(await gateway.admitted(), "Hello", " there")
    events = await post
    assert [event["delta"] for event in events if "delta" in event] == ["Hello", " there"]
    name = events[-1]["response"]["id"]
    assert await call(gateway, "GET", f"/{name}") == (200, events[-1]["response"])
    again = await stream(gateway, "GET", f"/{name}", params={"stream": "true"})
    assert again == events
    for after in (0, 3, len(events) - 2):
        params = {"stream": "true", "starting_after": str(after)}
        assert await stream(gateway, "GET", f"/{name}", params=params) == events[after + 1 :]


async def test_a_running_stream_is_resumed_after_its_last_event(gateway: Stage) -> None:
    started = await call(gateway, "POST", "", json={"model": gateway.agent_id, "input": "hi", "background": True})
    name, turn = started[1]["id"], await gateway.admitted()
    assert (started[1]["status"], started[1]["background"]) == ("queued", True)
    writer = gateway.turn_writer(turn)
    writer.delta("Hello")
    await writer.flush()
    params = {"stream": "true", "starting_after": "4"}
    follow = asyncio.create_task(stream(gateway, "GET", f"/{name}", params=params))
    writer.delta(" there")
    await writer.flush()
    await gateway.history.finish(turn, writer.last_seq + 1, [said("Hello there")])
    events = await follow
    assert [event["sequence_number"] for event in events] == list(range(5, 10))
    assert events[0]["delta"] == " there"
    assert (await call(gateway, "GET", f"/{name}"))[1] == events[-1]["response"]


async def test_the_next_response_follows_in_the_same_session(gateway: Stage) -> None:
    first = await ask(gateway)
    second = await ask(gateway, previous_response_id=first["id"], model=None)
    order = gateway.history.orders[turn_of(second)]
    assert (order.session_id, order.parent) == (first["conversation"]["id"], turn_of(first))
    assert second["previous_response_id"] == first["id"]
    third = await ask(gateway, conversation={"id": first["conversation"]["id"]})
    order = gateway.history.orders[turn_of(third)]
    assert (order.session_id, order.parent) == (first["conversation"]["id"], None)
    assert third["previous_response_id"] is None


async def test_what_a_conversation_does_not_allow_is_refused_by_name(gateway: Stage) -> None:
    response = await ask(gateway)
    unstored = await ask(gateway, store=False)
    other = gateway.history.agent()
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"previous_response_id": "resp_x"}, 404, "previous_response_id"),
        ({"previous_response_id": "resp_" + new_id("trn")[4:]}, 404, "previous_response_id"),
        ({"previous_response_id": unstored["id"]}, 404, "previous_response_id"),
        ({"previous_response_id": response["id"], "model": other}, 400, "model"),
        ({"conversation": "conv_1"}, 404, "conversation"),
        ({"conversation": new_id("ses")}, 404, "conversation"),
        ({"conversation": response["conversation"]["id"], "model": other}, 400, "model"),
        ({"model": "nobody"}, 404, "model"),
        ({"model": "No Model"}, 404, "model"),
    ]
    for members, status, param in cases:
        answer = await call(gateway, "POST", "", json={"model": gateway.agent_id, "input": "hi", **members})
        assert (answer[0], answer[1]["error"]["param"]) == (status, param), members
    assert len(gateway.history.kept_sessions) == 1


async def test_a_second_response_must_wait_for_the_first(gateway: Stage) -> None:
    first = await ask(gateway)
    body = {"input": "hi", "conversation": first["conversation"]["id"], "background": True}
    _, running = await call(gateway, "POST", "", json=body)
    for members in ({"conversation": first["conversation"]["id"]}, {"previous_response_id": running["id"]}):
        status, answer = await call(gateway, "POST", "", json={"input": "hi", **members})
        assert (status, answer["code"], answer["activeTurnId"]) == (409, "turn_in_progress", turn_of(running))


async def test_a_call_of_the_callers_tool_goes_round(gateway: Stage) -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]
    body = {"model": gateway.agent_id, "input": "hi", "tools": tools, "stream": True}
    post = asyncio.create_task(stream(gateway, "POST", "", json=body))
    turn = await gateway.admitted()
    calls = [ToolCall(id="call_1", name="f", arguments='{"a":1}')]
    await gateway.history.finish(turn, 1, [said("", calls)], finish_reason="tool_calls")
    events = await post
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["call_id"], item["name"], item["arguments"]) == (
        "function_call",
        "call_1",
        "f",
        '{"a":1}',
    )
    output = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
    answered = await ask(gateway, previous_response_id=events[-1]["response"]["id"], input=[output], tools=tools)
    (message,) = gateway.history.orders[turn_of(answered)].messages
    assert (message.role, message.tool_call_id, message.content) == ("tool", "call_1", "42")


async def test_an_item_may_be_named_in_place_of_being_sent(gateway: Stage) -> None:
    first = await ask(gateway)
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    asked = [{"role": "user", "content": "hi"}, reference, {"role": "user", "content": "more"}]
    second = await ask(gateway, input=asked)
    messages = gateway.history.orders[turn_of(second)].messages
    assert [message.content for message in messages] == ["hi", "There.", "more"]
    foreign = gateway.history.key(Scope.CHAT_WRITE, workspace="ws_other")
    unknown = ["msg_1", None, reference["id"][:-1] + "7", f"msg_{new_id('trn')[4:]}_1_0"]
    for name, headers in [(reference["id"], {"Authorization": f"Bearer {foreign}"}), *((name, {}) for name in unknown)]:
        body = {"model": gateway.agent_id, "input": [{"type": "item_reference", "id": name}]}
        status, answer = await call(gateway, "POST", "", json=body, headers=headers)
        assert (status, answer["error"]["param"]) == (400, "input[0].id"), name


async def test_a_failed_turn_is_an_http_error_and_a_failed_response(gateway: Stage) -> None:
    body = {"model": gateway.agent_id, "input": "hi"}
    post = asyncio.create_task(call(gateway, "POST", "", json=body))
    turn = await gateway.admitted()
    problem = ApiError(Code.UPSTREAM_ERROR, "The model is away.").problem()
    failed: dict[str, Any] = {"status": "failed", "finish_reason": None, "error": problem}
    await gateway.history.finish(turn, 1, [], **failed)
    status, answer = await post
    assert (status, answer["code"]) == (502, "upstream_error")
    stored = await call(gateway, "GET", "/resp_" + turn.removeprefix("trn_"))
    assert (stored[1]["status"], stored[1]["error"]) == (
        "failed",
        {"code": "server_error", "message": "The model is away."},
    )


async def test_a_response_is_cancelled_listed_and_erased(gateway: Stage) -> None:
    body = {"model": gateway.agent_id, "input": [{"role": "user", "content": "one"}], "background": True}
    _, running = await call(gateway, "POST", "", json=body)
    name, turn = f"/{running['id']}", await gateway.admitted()
    assert (await call(gateway, "POST", f"{name}/cancel"))[1]["status"] == "queued"
    assert gateway.history.cancelled == [turn]
    assert (await call(gateway, "DELETE", name))[0] == 409
    await gateway.history.finish(turn, 1, [], status="cancelled", finish_reason="cancelled")
    for _ in range(2):
        assert (await call(gateway, "POST", f"{name}/cancel"))[1]["status"] == "cancelled"
    status, page = await call(gateway, "GET", f"{name}/input_items")
    assert (status, page["data"][0]["content"][0]["text"], page["has_more"]) == (200, "one", False)
    assert (await call(gateway, "GET", f"{name}/input_items", params={"after": "x"}))[0] == 400
    for _ in range(2):
        deleted = {"id": running["id"], "object": "response", "deleted": True}
        assert await call(gateway, "DELETE", name) == (200, deleted)
    assert (await call(gateway, "GET", name))[0] == 410


async def test_input_is_listed_in_pages(gateway: Stage) -> None:
    sent = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    name = (await ask(gateway, input=sent))["id"]
    _, page = await call(gateway, "GET", f"/{name}/input_items", params={"limit": "2"})
    assert ([item["content"][0]["text"] for item in page["data"]], page["has_more"]) == (["three", "two"], True)
    params = {"limit": "2", "after": page["last_id"]}
    _, rest = await call(gateway, "GET", f"/{name}/input_items", params=params)
    assert ([item["content"][0]["text"] for item in rest["data"]], rest["has_more"]) == (["one"], False)
    _, forward = await call(gateway, "GET", f"/{name}/input_items", params={"order": "asc", "limit": "1"})
    assert forward["data"][0]["content"][0]["text"] == "one"


@pytest.mark.parametrize("query", ["starting_after=x", "starting_after=-1", "starting_after=9999999999"])
async def test_a_position_that_is_no_number_is_refused(gateway: Stage, query: str) -> None:
    name = (await ask(gateway))["id"]
    status, answer = await call(gateway, "GET", f"/{name}?stream=true&{query}")
    assert (status, answer["error"]["param"]) == (400, "starting_after")


async def test_what_was_not_taken_is_named_in_a_header(gateway: Stage) -> None:
    body = {"model": gateway.agent_id, "input": "hi", "background": True, "service_tier": "flex", "made_up": 1}
    async with gateway.client.post(gateway.url("/responses"), json=body) as response:
        assert response.headers["x-parley-ignored"] == "made_up, service_tier"


async def test_a_repeated_blind_request_leaves_no_second_session(gateway: Stage) -> None:
    key = gateway.history.key(Scope.CHAT_WRITE, Scope.CHAT_READ, retry_guard=True)
    body = {"model": gateway.agent_id, "input": "hi", "background": True}
    headers = {"Authorization": f"Bearer {key}"}
    _, first = await call(gateway, "POST", "", json=body, headers=headers)
    _, again = await call(gateway, "POST", "", json=body, headers={**headers, "x-stainless-retry-count": "1"})
    assert again["id"] == first["id"]
    assert len(gateway.history.kept_sessions) == 1


async def test_a_repeat_with_the_same_key_gets_the_same_response(gateway: Stage) -> None:
    body, headers = {"model": gateway.agent_id, "input": "hi", "background": True}, {"Idempotency-Key": "k1"}
    answers = [await call(gateway, "POST", "", json=body, headers=headers) for _ in range(2)]
    assert answers[0] == answers[1]
    assert (len(gateway.history.turns), len(gateway.history.kept_sessions)) == (1, 1)
    changed = await call(gateway, "POST", "", json={**body, "input": "other"}, headers=headers)
    assert (changed[0], changed[1]["code"]) == (422, "idempotency_mismatch")
    assert len(gateway.history.kept_sessions) == 1


async def test_a_refused_response_leaves_no_session(gateway: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> Any:
        raise ApiError(Code.RATE_LIMITED)

    monkeypatch.setattr(gateway.history, "admit", refuse)
    status, _ = await call(gateway, "POST", "", json={"model": gateway.agent_id, "input": "hi"})
    assert (status, gateway.history.kept_sessions) == (429, {})


async def test_a_disconnected_caller_cancels_only_what_is_not_stored(gateway: Stage) -> None:
    turns = []
    for count, store in enumerate((True, False), 1):
        body = {"model": gateway.agent_id, "input": "hi", "stream": True, "store": store}
        async with gateway.client.post(gateway.url("/responses"), json=body) as response:
            await response.content.readuntil(b"\n\n")
            turns.append(await gateway.admitted(count))
            response.close()
    await eventually(lambda: gateway.history.cancelled, what="the cancellation")
    assert gateway.history.cancelled == [turns[1]]


async def test_a_worker_that_died_leaves_an_incomplete_item(gateway: Stage) -> None:
    body = {"model": gateway.agent_id, "input": "hi", "stream": True}
    post = asyncio.create_task(stream(gateway, "POST", "", json=body))
    turn = await gateway.admitted()
    first = gateway.turn_writer(turn)
    first.delta("Old")
    await first.flush()
    second = gateway.turn_writer(turn, 2)
    second.frame("restarted", {"attempt": 2, "reason": "worker_lost"})
    second.delta("New")
    await second.flush()
    await gateway.history.finish(turn, second.last_seq + 1, [said("New")], attempt=2)
    events = await post
    done = [event["item"]["status"] for event in events if event["type"] == "response.output_item.done"]
    assert done == ["incomplete", "completed"]
    assert [item["content"][0]["text"] for item in events[-1]["response"]["output"]] == ["New"]
