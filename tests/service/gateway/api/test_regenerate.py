"""Another answer in a turn's place, over the session API."""

import asyncio
from typing import Any

from shared.contracts.keys import Scope
from tests.service.gateway.fakes import Stage
from tests.service.gateway.reading import frames


async def posted(gateway: Stage, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    async with gateway.client.post(gateway.url(path), json=body, headers=headers) as response:
        return response.status, await response.json()


async def answered(gateway: Stage, path: str, body: dict[str, Any], text: str) -> tuple[str, dict[str, Any]]:
    known = len(gateway.history.turns)
    asking = asyncio.create_task(posted(gateway, path, body))
    turn_id = await gateway.admitted(known + 1)
    await gateway.answer(turn_id, text)
    status, answer = await asking
    assert status == 200
    return turn_id, answer["data"]


async def test_a_message_is_answered_again_in_its_turns_place(gateway: Stage) -> None:
    session = await gateway.session()
    path = f"/chat/sessions/{session}"
    first, _ = await answered(gateway, path + "/messages", {"content": "Why?"}, "No reason.")
    second, data = await answered(gateway, f"{path}/turns/{first}/regenerate", {}, "A reason.")
    order = gateway.history.orders[second]
    assert (order.instead_of, [message.content for message in order.messages]) == (first, ["Why?"])
    assert data["messages"][0]["content"] == "A reason."
    third, _ = await answered(gateway, f"{path}/turns/{second}/regenerate", {"content": "How?"}, "So.")
    assert [message.content for message in gateway.history.orders[third].messages] == ["How?"]
    assert gateway.history.orders[third].key_id is not None


async def test_a_regenerated_answer_streams_and_is_accepted_for_later(gateway: Stage) -> None:
    session = await gateway.session()
    path = f"/chat/sessions/{session}"
    first, _ = await answered(gateway, path + "/messages", {"content": "Why?"}, "No reason.")
    known = len(gateway.history.turns)
    url = gateway.url(f"{path}/turns/{first}/regenerate")
    async with gateway.client.post(url, json={"stream": True}, headers={"Idempotency-Key": "k"}) as response:
        turn_id = await gateway.admitted(known + 1)
        await gateway.answer(turn_id, "A ", "reason.")
        told = await frames(response)
    assert [frame.event for frame in told][-1] == "done"
    status, answer = await posted(gateway, f"{path}/turns/{first}/regenerate", {}, **{"Idempotency-Key": "k"})
    assert (status, answer["data"]["turnId"]) == (200, turn_id)
    status, answer = await posted(gateway, f"{path}/turns/{turn_id}/regenerate", {}, Prefer="respond-async")
    assert status == 202
    async with gateway.client.post(url, json={"content": " "}) as response:
        assert response.status == 422
    assert (await posted(gateway, f"{path}/turns/{turn_id}/regenerate", {}))[1]["code"] == "turn_in_progress"


async def test_only_a_turn_of_the_session_is_regenerated(gateway: Stage) -> None:
    session, other = await gateway.session(), await gateway.session()
    first, _ = await answered(gateway, f"/chat/sessions/{session}/messages", {"content": "Why?"}, "No reason.")
    status, answer = await posted(gateway, f"/chat/sessions/{other}/turns/{first}/regenerate", {})
    assert (status, answer["code"]) == (404, "turn_not_found")
    reader = gateway.history.key(Scope.CHAT_READ)
    status, _ = await posted(
        gateway, f"/chat/sessions/{session}/turns/{first}/regenerate", {}, Authorization=f"Bearer {reader}"
    )
    assert status == 403
