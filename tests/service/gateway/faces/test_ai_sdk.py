"""The AI SDK's routes: what a chat is, what is repeated, resumed, stopped and replaced, and who may use it."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import pytest

from shared.ids import new_id
from tests.service.gateway.faces.visitors import SHOP, visitor_of
from tests.service.gateway.fakes import Stage


def user(text: str, message_id: str = "m-1") -> dict[str, Any]:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def path(gateway: Stage, rest: str = "") -> str:
    return gateway.url(f"/agents/{gateway.agent_id}/ui/chat{rest}")


async def chunks(response: Any) -> list[Any]:
    assert response.status == 200, await response.text()
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    blocks = (await response.read()).split(b"\n\n")
    data = [block.removeprefix(b"data: ") for block in blocks if block.startswith(b"data: ")]
    return [each if each == b"[DONE]" else orjson.loads(each) for each in data]


def text_of(found: list[Any]) -> str:
    return "".join(each["delta"] for each in found if each != b"[DONE]" and each["type"] == "text-delta")


async def asked(gateway: Stage, *pieces: str, **body: Any) -> tuple[str, list[Any]]:
    """A whole turn: its id and its chunks."""
    known = len(gateway.history.turns)
    async with gateway.client.post(path(gateway), json={"id": "chat 1", **body}) as response:
        turn_id = await gateway.admitted(known + 1)
        await gateway.answer(turn_id, *pieces)
        return turn_id, await chunks(response)


async def refused(gateway: Stage, **body: Any) -> tuple[int, str]:
    async with gateway.client.post(path(gateway), json={"id": "chat 1", **body}) as response:
        return response.status, (await response.json())["code"]


async def shown(gateway: Stage, chat: str = "chat%201") -> list[dict[str, Any]]:
    async with gateway.client.get(path(gateway, f"/{chat}/messages")) as response:
        assert response.status == 200
        found: list[dict[str, Any]] = (await response.json())["messages"]
        return found


async def test_a_chat_is_one_session_and_the_client_names_it(gateway: Stage) -> None:
    assert await shown(gateway) == []
    first, found = await asked(gateway, "On ", "its way.", messages=[user("Where?")], metadata={"plan": "pro"})
    assert text_of(found) == "On its way."
    await asked(gateway, "Soon.", messages=[user("Where?"), user("When?", "m-2")])
    [session] = gateway.history.kept_sessions.values()
    assert (session.client_id, session.metadata) == ("chat 1", {"plan": "pro"})
    messages = await shown(gateway)
    assert [each["id"] for each in messages] == ["m-1", first, "m-2", list(gateway.history.turns)[-1]]
    assert messages[1]["parts"][1] == {"type": "text", "text": "On its way.", "state": "done"}
    assert gateway.history.orders[first].key_id is not None


async def test_a_repeated_message_is_the_same_turn(gateway: Stage) -> None:
    first, found = await asked(gateway, "Yes.", messages=[user("Open?")])
    async with gateway.client.post(path(gateway), json={"id": "chat 1", "message": user("Open?")}) as response:
        assert await chunks(response) == found
    assert await refused(gateway, message=user("Closed?")) == (422, "idempotency_mismatch")
    assert list(gateway.history.turns) == [first]


async def test_an_answer_is_regenerated_and_a_message_edited_in_its_place(gateway: Stage) -> None:
    first, _ = await asked(gateway, "One.", messages=[user("Which?")])
    second, _ = await asked(gateway, "Two.", messages=[user("Which?")], trigger="regenerate-message", messageId=first)
    third, _ = await asked(gateway, "Three.", messages=[], trigger="regenerate-message")
    fourth, _ = await asked(gateway, "Four.", messages=[user("Which one?")], messageId="m-1")
    orders = gateway.history.orders
    assert [orders[each].instead_of for each in (first, second, third, fourth)] == [None, first, second, third]
    assert [message.content for message in orders[third].messages] == ["Which?"]
    assert [each["id"] for each in await shown(gateway)] == ["m-1", fourth]
    async with gateway.client.post(
        path(gateway), json={"id": "chat 1", "message": user("Which one?"), "messageId": "m-1"}
    ) as response:
        assert text_of(await chunks(response)) == "Four."
    assert len(orders) == 4


async def test_only_messages_of_the_chat_are_replaced(gateway: Stage) -> None:
    assert await refused(gateway, trigger="regenerate-message") == (400, "invalid_request")
    await asked(gateway, "One.", messages=[user("Which?")])
    for body in ({"trigger": "regenerate-message"}, {"message": user("x")}):
        for name in (new_id("trn"), "unknown"):
            assert await refused(gateway, **body, messageId=name) == (400, "invalid_request")


@asynccontextmanager
async def running(gateway: Stage) -> AsyncIterator[str]:
    """A chat whose turn has said a word, and whose client has gone."""
    async with gateway.client.post(path(gateway), json={"id": "chat 1", "message": user("Where?")}) as response:
        assert response.status == 200
        turn_id = await gateway.admitted()
        gateway.turn_writer(turn_id).delta("On ")
        await gateway.turn_writer(turn_id).flush()
    yield turn_id


async def test_a_resumed_stream_is_the_whole_turn_from_its_start(gateway: Stage) -> None:
    async with running(gateway) as turn_id, gateway.client.get(path(gateway, "/chat%201/stream")) as response:
        await gateway.history.finish(turn_id, 2, [])
        found = await chunks(response)
        assert (found[0]["type"], found[0]["messageId"]) == ("start", turn_id)
        assert text_of(found) == "On "
        assert found[-2]["type"] == "finish"


async def test_a_turn_that_has_just_ended_is_told_again_and_an_old_one_is_not(gateway: Stage) -> None:
    async with gateway.client.get(path(gateway, "/chat%201/stream")) as response:
        assert response.status == 204
    turn_id, told = await asked(gateway, "Yes.", messages=[user("Open?")])
    async with gateway.client.get(path(gateway, "/chat%201/stream")) as response:
        assert await chunks(response) == told
    stored = gateway.history.turns[turn_id]
    ended = datetime.now(UTC) - timedelta(seconds=gateway.dependencies.settings.log_keep_s + 1)
    old = stored.turn.model_copy(update={"ended_at": ended})
    gateway.history.turns[turn_id] = stored.model_copy(update={"turn": old})
    async with gateway.client.get(path(gateway, "/chat%201/stream")) as response:
        assert response.status == 204


async def test_stopping_cancels_the_running_turn_and_no_other(gateway: Stage) -> None:
    async def stop(body: Any = None) -> None:
        async with gateway.client.post(path(gateway, "/chat%201/stop"), json=body) as response:
            assert await response.json() == {"success": True}

    await stop()
    async with running(gateway) as turn_id:
        await stop({"activeStreamId": "another"})
        assert gateway.history.cancelled == []
        assert await refused(gateway, message=user("And now?", "m-2")) == (409, "turn_in_progress")
        await stop({"activeStreamId": turn_id, "assistantMessage": {}})
        assert gateway.history.cancelled == [turn_id]
        await gateway.history.finish(turn_id, 2, [], status="cancelled", finish_reason="cancelled")
    await stop()
    assert gateway.history.cancelled == [turn_id]


async def test_a_long_conversation_is_taken_and_an_endless_one_refused(gateway: Stage) -> None:
    limit = gateway.dependencies.settings.body_limit
    earlier = [user("x" * 1000, f"old-{number}") for number in range(2 * limit // 1000)]
    turn_id, _ = await asked(gateway, "Yes.", messages=[*earlier, user("Open?")])
    assert [message.content for message in gateway.history.orders[turn_id].messages] == ["Open?"]
    endless = io.BytesIO(orjson.dumps({"id": "chat 1", "messages": [*earlier * 5, user("Open?")]}))
    json_type = {"Content-Type": "application/json"}
    async with gateway.client.post(path(gateway), data=endless, headers=json_type) as response:
        assert (response.status, (await response.json())["code"]) == (413, "payload_too_large")


async def test_a_chat_that_waits_is_told_its_place_in_the_queue(gateway: Stage) -> None:
    async def waiting(chat: str) -> list[Any]:
        known = len(gateway.history.turns)
        async with gateway.client.post(path(gateway), json={"id": chat, "message": user("Where?", chat)}) as response:
            turn_id = await gateway.admitted(known + 1)
            await gateway.history.finish(turn_id, 1, [])
            return await chunks(response)

    first, second = await waiting("a"), await waiting("b")
    assert [each["type"] for each in first[:2]] == ["start", "start-step"]
    assert second[1] == {"type": "data-queue", "data": {"position": 1}, "transient": True}


async def test_an_unknown_version_of_the_client_is_refused(gateway: Stage) -> None:
    headers = {"x-ai-sdk-version": "4"}
    async with gateway.client.post(path(gateway), json={"id": "c", "message": user("x")}, headers=headers) as response:
        assert response.status == 400
    for chat in ("%00", "x" * 201, "%E2%80%AE"):
        async with gateway.client.get(path(gateway, f"/{chat}/messages")) as response:
            assert response.status == 400


async def test_a_gateway_that_drains_breaks_the_stream_off(gateway: Stage) -> None:
    async with running(gateway), gateway.client.get(path(gateway, "/chat%201/stream")) as response:
        await response.content.readuntil(b"On ")
        gateway.dependencies.drain()
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_visitor_uses_the_chat_of_its_own_session(gateway: Stage) -> None:
    session, headers = await visitor_of(gateway)
    body = {"id": session, "message": user("Where?")}
    async with gateway.client.post(path(gateway), json=body, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        turn_id = await gateway.admitted()
        await gateway.answer(turn_id, "Here.")
        assert text_of(await chunks(response)) == "Here."
    assert gateway.history.turns[turn_id].turn.session_id == session
    other = await gateway.session()
    for chat in (other, "chat 1", new_id("ses")):
        async with gateway.client.post(path(gateway), json={**body, "id": chat}, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (404, "session_not_found")
        async with gateway.client.get(path(gateway, f"/{chat}/messages"), headers=headers) as response:
            assert response.status == 404
    async with gateway.client.options(path(gateway), headers={"Origin": SHOP}) as response:
        assert "x-ai-sdk-version" in response.headers["Access-Control-Allow-Headers"]
