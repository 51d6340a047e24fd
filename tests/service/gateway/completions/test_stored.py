"""The list of stored completions, their metadata and their erasure; and the guard against an SDK's blind repeats."""

import asyncio
from typing import Any

import openai
import pytest

from shared.contracts.keys import Scope
from tests.conftest import eventually
from tests.service.gateway.fakes import Stage

HELLO = [{"role": "user", "content": "hi"}]


async def stored(gateway: Stage, text: str = "There.", **more: Any) -> dict[str, Any]:
    """A completion that was kept, as its caller got it."""
    body = {"model": gateway.agent_id, "messages": HELLO, "store": True, **more}
    known = len(gateway.history.turns)
    post = asyncio.create_task(call(gateway, "POST", "", json=body))
    await gateway.answer(await gateway.admitted(known + 1), text)
    status, answer = await post
    assert status == 200
    return answer


async def call(gateway: Stage, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    async with gateway.client.request(method, gateway.url("/chat/completions" + path), **more) as response:
        return response.status, await response.json()


async def test_stored_completions_are_listed_in_openais_shape(gateway: Stage) -> None:
    made = [await stored(gateway, text, metadata={"k": "v"}) for text in ("One.", "Two.", "Three.")]
    status, page = await call(gateway, "GET", "", params={"limit": "2"})
    assert status == 200
    assert page["data"] == [{**completion, "metadata": {"k": "v"}} for completion in made[:2]]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == (
        "list",
        made[0]["id"],
        made[1]["id"],
        True,
    )
    _, rest = await call(gateway, "GET", "", params={"after": page["last_id"]})
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == ([made[2]["id"]], False)
    _, last = await call(gateway, "GET", "", params={"order": "desc", "limit": "1"})
    assert last["first_id"] == made[2]["id"]


async def test_the_list_is_filtered_by_model_and_metadata(gateway: Stage) -> None:
    one = await stored(gateway, metadata={"a b": "1", "c": "&"})
    await stored(gateway, metadata={"a b": "1"})
    for params, expected in (
        ({"metadata[a b]": "1"}, 2),
        ({"metadata[a b]": "1", "metadata[c]": "&"}, 1),
        ({"metadata[c]": "x"}, 0),
        ({"model": one["model"]}, 2),
        ({"model": "agt_other"}, 0),
    ):
        status, page = await call(gateway, "GET", "", params=params)
        assert (status, len(page["data"])) == (200, expected), params
        assert (page["first_id"] is None) is (expected == 0)


@pytest.mark.parametrize(
    "params", [{"order": "up"}, {"limit": "0"}, {"limit": "x"}, {"after": "chatcmpl-x"}, {"after": ""}]
)
async def test_a_list_asked_for_wrongly_is_refused_by_name(gateway: Stage, params: dict[str, str]) -> None:
    status, body = await call(gateway, "GET", "", params=params)
    assert (status, body["error"]["param"]) == (400, next(iter(params)))


async def test_metadata_is_replaced_and_a_completion_is_erased(gateway: Stage) -> None:
    name = "/" + (await stored(gateway, metadata={"a": "1"}))["id"]
    status, body = await call(gateway, "POST", name, json={"metadata": {"b": "2"}, "unknown": 1})
    assert (status, body["metadata"]) == (200, {"b": "2"})
    assert (await call(gateway, "GET", name)) == (200, body)
    assert (await call(gateway, "POST", name, json={"metadata": None}))[1]["metadata"] == {}
    for _ in range(2):
        assert await call(gateway, "DELETE", name) == (
            200,
            {"object": "chat.completion.deleted", "id": name[1:], "deleted": True},
        )
    for method, path in (("GET", name), ("GET", name + "/messages"), ("POST", name)):
        status, body = await call(gateway, method, path, **({"json": {"metadata": {}}} if method == "POST" else {}))
        assert (status, body["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body", [{}, {"metadata": 1}, {"metadata": {"a": 1}}, {"metadata": {str(n): "" for n in range(17)}}]
)
async def test_metadata_of_the_wrong_shape_is_refused(gateway: Stage, body: dict[str, Any]) -> None:
    name = "/" + (await stored(gateway))["id"]
    status, answer = await call(gateway, "POST", name, json=body)
    assert (status, answer["error"]["param"].split(".")[0]) == (400, "metadata")


async def test_reading_needs_the_scope_to_read_and_changing_the_scope_to_write(gateway: Stage) -> None:
    name = "/" + (await stored(gateway))["id"]
    for scope, refused in ((Scope.CHAT_WRITE, ["GET"]), (Scope.CHAT_READ, ["POST", "DELETE"])):
        headers = {"Authorization": f"Bearer {gateway.history.key(scope)}"}
        for method in refused:
            status, body = await call(
                gateway, method, name if method != "GET" else "", headers=headers, json={"metadata": {}}
            )
            assert (status, body["code"]) == (403, "insufficient_scope")


# --- blind repeats


def guarded(gateway: Stage) -> str:
    return gateway.history.key(Scope.CHAT_READ, Scope.CHAT_WRITE, retry_guard=True)


async def test_an_sdks_repeat_after_its_timeout_gets_the_turn_that_runs(gateway: Stage) -> None:
    async with openai.AsyncOpenAI(
        api_key=guarded(gateway), base_url=gateway.url(""), max_retries=1, timeout=1.0
    ) as client:
        asking = asyncio.create_task(
            client.chat.completions.create(model=gateway.agent_id, messages=[{"role": "user", "content": "hi"}])
        )
        turn_id = await gateway.admitted()
        await eventually(lambda: gateway.history.retries == 1, what="the repeat")
        await gateway.answer(turn_id, "Once.")
        completion = await asking
    assert completion.choices[0].message.content == "Once."
    assert (len(gateway.history.turns), gateway.history.cancelled) == (1, [])


async def test_without_the_guard_or_as_a_first_request_an_equal_body_is_another_turn(gateway: Stage) -> None:
    body = {"model": gateway.agent_id, "messages": HELLO}
    unguarded, retry = gateway.history.key(Scope.CHAT_WRITE), {"x-stainless-retry-count": "1"}
    other = guarded(gateway)
    key = guarded(gateway)
    sent = [
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"Bearer {key}", "x-stainless-retry-count": "0"},
        {"Authorization": f"Bearer {other}", **retry},
        {"Authorization": f"Bearer {unguarded}", **retry},
    ]
    posts = []
    for number, headers in enumerate(sent, 1):
        posts.append(asyncio.create_task(call(gateway, "POST", "", json=body, headers=headers)))
        await gateway.answer(await gateway.admitted(number), "Yes.")
    assert len({(await post)[1]["id"] for post in posts}) == 4
    status, again = await call(gateway, "POST", "", json=body, headers={"Authorization": f"Bearer {key}", **retry})
    assert (status, len(gateway.history.turns)) == (200, 4)
    assert again["id"] in {post.result()[1]["id"] for post in posts[:2]}


async def test_under_the_guard_a_lost_connection_cancels_nothing(gateway: Stage) -> None:
    headers = {"Authorization": f"Bearer {guarded(gateway)}"}
    post = asyncio.create_task(
        call(gateway, "POST", "", json={"model": gateway.agent_id, "messages": HELLO}, headers=headers)
    )
    turn_id = await gateway.admitted()
    post.cancel()
    await gateway.answer(turn_id, "There.")
    await eventually(lambda: gateway.dependencies.limits.held == 0)
    assert gateway.history.cancelled == []
