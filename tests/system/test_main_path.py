"""The main job through real processes: ask, stream, resume, and read what is stored."""

import asyncio
import itertools
import os
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from deploy.demo.scripted import scripted_answer
from shared.contracts.keys import NewKey, Scope
from shared.ids import new_id
from tests.conftest import eventually
from tests.system.stack import Client, Stack, Transcript, gather_bounded, read_to_end, seeded

ECHO = "scripted/tokens=12,delay=0,text=echo"


async def test_the_demo_shows_deltas_knowledge_and_a_tool(stack: Stack, client: Client) -> None:
    agent_id = stack.facts["agentId"]
    delivery = await client.ask(await client.session(agent_id), "Do you deliver to 80202?")
    assert "80202" in delivery.text
    assert delivery.events()[:3] == ["queued", "started", "kb_retrieval"]
    assert delivery.end is not None
    (message,) = delivery.end.data["messages"]
    named = {passage["marker"]: passage["id"] for passage in message["knowledge"][0]["passages"]}
    assert message["citations"]
    for citation in message["citations"]:
        assert message["content"][citation["start"] : citation["end"]] == f"[{citation['marker']}]"
        assert named[citation["marker"]] == citation["passage"]["id"]
    hours = await client.ask(await client.session(agent_id), "What are your hours?")
    assert "11:00" in hours.text
    order = await client.ask(await client.session(agent_id), "Where is order 1042?")
    assert {"tool_call", "tool_result", "delta", "done"} <= set(order.events())
    assert "1042" in order.text


@pytest.mark.parametrize("turns", [48, pytest.param(200, marks=pytest.mark.long)])
async def test_what_done_says_is_stored_when_it_says_so(stack: Stack, client: Client, turns: int) -> None:
    agent_id = await stack.publish(ECHO)

    async def one(number: int) -> None:
        session_id = await client.session(agent_id)
        question = f"question {number}"
        told = await client.ask(session_id, question)
        assert told.end is not None
        assert told.end.event == "done"
        rows = await client.messages(session_id)
        assert [row["role"] for row in rows] == ["user", "assistant"]
        assert rows[0]["content"] == question
        assert rows[1]["content"] == told.text == scripted_answer(question, 12)
        assert told.end.data["messages"] == rows[1:]

    for start in range(0, turns, 4):
        await asyncio.gather(*(one(start + number) for number in range(4)))


@pytest.mark.parametrize("turns", [12, pytest.param(50, marks=pytest.mark.long)])
async def test_an_answer_without_stream_is_stored_as_told(stack: Stack, client: Client, turns: int) -> None:
    agent_id = await stack.publish(ECHO)

    async def one(number: int) -> None:
        session_id = await client.session(agent_id)
        status, body = await client.call(
            "POST", f"/chat/sessions/{session_id}/messages", {"content": f"plain {number}"}
        )
        assert status == 200, body
        assert body["data"]["status"] == "completed"
        assert (await client.messages(session_id))[1:] == body["data"]["messages"]
        assert body["data"]["messages"][0]["content"] == scripted_answer(f"plain {number}", 12)

    await gather_bounded(turns, 4, one)


async def test_the_stock_openai_client_works(stack: Stack) -> None:
    facts = stack.facts
    agent_id = await stack.publish(ECHO)
    expected = scripted_answer("hello", 12)
    async with AsyncOpenAI(base_url=facts["baseUrl"] + "/api/v1", api_key=facts["secretKey"], max_retries=0) as openai:
        models = [model.id async for model in openai.models.list()]
        assert {agent_id, facts["agentId"]} <= set(models)
        ask: Any = {"model": agent_id, "messages": [{"role": "user", "content": "hello"}]}
        cited = await openai.chat.completions.create(
            model=facts["agentId"], messages=[{"role": "user", "content": "Do you deliver to 80202?"}]
        )
        annotations = cited.choices[0].message.annotations or []
        assert annotations[0].url_citation.title.startswith("Delivery")
        whole = await openai.chat.completions.create(**ask)
        assert whole.choices[0].message.content == expected
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        assert whole.usage.total_tokens > 0
        stream = await openai.chat.completions.create(**ask, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(pieces) == expected


@pytest.mark.parametrize("wanted", [120, pytest.param(500, marks=pytest.mark.long)])
async def test_a_cut_stream_resumes_on_the_other_gateway_without_gap_or_repeat(
    stack: Stack, clients: list[Client], wanted: int
) -> None:
    agent_id = await stack.publish("scripted/tokens=60,delay=4,text=echo")
    random, cuts = seeded(), Counter[str]()

    async def one(number: int) -> None:
        question = f"cut me {number}"
        session_id = await clients[0].session(agent_id)
        told = Transcript()
        body = {"content": question, "stream": True}
        # Every second answer is cut within 300 bytes, which no answer of 60 tokens fits into: a cut for certain.
        first = random.randrange(300, 1500) if number % 2 else 300
        async with clients[0].request("POST", f"/chat/sessions/{session_id}/messages", body) as answer:
            turn_id = await _first_turn_id(answer, told, first)
        for round_number in range(1, 40):
            if told.end is not None:
                break
            cuts["cuts"] += 1
            cut = random.randrange(1, 1200) if round_number < 6 else None
            await clients[round_number % 2].resume(session_id, turn_id, told, cut_after=cut)
        assert told.end is not None, told.events()
        assert told.text == scripted_answer(question, 60)
        _assert_ids_have_no_hole(told)

    # The number of cuts per answer depends on chance and on how the host batches tokens: ask until there were enough.
    numbers = itertools.count()
    while cuts["cuts"] < wanted:
        await gather_bounded(16, 8, lambda _: one(next(numbers)))


async def _first_turn_id(answer: aiohttp.ClientResponse, told: Transcript, cut_after: int) -> str:
    await read_to_end(answer, told, cut_after=cut_after)
    return str(told.frames[0].data["turnId"])


def _assert_ids_have_no_hole(told: Transcript) -> None:
    ids = [tuple(int(part) for part in frame.id.split("-")) for frame in told.frames if frame.id]
    assert ids == [(1, seq) for seq in range(1, len(ids) + 1)]


async def test_a_hundred_posts_with_one_key_are_one_turn(stack: Stack, clients: list[Client]) -> None:
    session_id = await clients[0].session(await stack.publish(ECHO))

    async def post(number: int) -> tuple[int, Any]:
        path = f"/chat/sessions/{session_id}/messages"
        return await clients[number % 2].call("POST", path, {"content": "once"}, **{"Idempotency-Key": "one"})

    answers = await asyncio.gather(*(post(number) for number in range(100)))
    assert Counter(status for status, _ in answers) == {200: 100}
    assert all(body == answers[0][1] for _, body in answers)
    assert [row["role"] for row in await clients[0].messages(session_id)] == ["user", "assistant"]


async def test_of_a_hundred_posts_without_a_key_one_wins(stack: Stack, clients: list[Client]) -> None:
    session_id = await clients[0].session(await stack.publish("scripted/tokens=40,delay=50"))

    async def post(number: int) -> tuple[int, Any]:
        return await clients[number % 2].call("POST", f"/chat/sessions/{session_id}/messages", {"content": "me"})

    answers = await asyncio.gather(*(post(number) for number in range(100)))
    assert Counter(status for status, _ in answers) == {200: 1, 409: 99}
    (won,) = [body for status, body in answers if status == 200]
    assert {body["activeTurnId"] for status, body in answers if status == 409} == {won["data"]["turnId"]}
    assert [row["role"] for row in await clients[0].messages(session_id)] == ["user", "assistant"]


async def test_a_killed_workers_turn_is_taken_over(stack: Stack, clients: list[Client]) -> None:
    client = clients[0]
    question = "who finishes this?"
    session_id = await client.session(await stack.publish("scripted/tokens=100,delay=30,text=echo"))
    body = {"content": question, "stream": True}
    async with client.request("POST", f"/chat/sessions/{session_id}/messages", body) as answer:
        told = Transcript()
        reading = asyncio.create_task(read_to_end(answer, told))
        await eventually(lambda: told.text != "")
        # Whichever worker runs it is among the two: all are killed, and the supervisor brings them back.
        for pid in stack.facts["pids"]["worker"]:
            os.kill(pid, signal.SIGKILL)
        # The lease and a second, and the start of two workers. Stock arq would need 310 s.
        await eventually(lambda: "restarted" in told.events(), within_s=20)
        await reading
    assert told.end is not None
    assert told.end.event == "done"
    assert told.text == scripted_answer(question, 100)
    assert await client.stored_text(session_id, told.end.data["turnId"]) == told.text
    assert [row["role"] for row in await client.messages(session_id)] == ["user", "assistant"]


async def test_cancel_keeps_the_partial_answer(stack: Stack, clients: list[Client]) -> None:
    session_id = await clients[0].session(await stack.publish("scripted/tokens=500,delay=20"))
    async with clients[0].request(
        "POST", f"/chat/sessions/{session_id}/messages", {"content": "go", "stream": True}
    ) as answer:
        told = Transcript()
        reading = asyncio.create_task(read_to_end(answer, told))
        await eventually(lambda: told.text != "")
        turn_id = told.frames[0].data["turnId"]
        for _ in range(2):
            status, body = await clients[1].call("POST", f"/chat/sessions/{session_id}/turns/{turn_id}/cancel")
            assert status == 200, body
        await reading
    assert told.end is not None
    assert told.end.data["status"] == "cancelled"
    (message,) = (await clients[0].messages(session_id))[1:]
    assert message["status"] == "partial"
    assert message["content"] == told.text


async def test_foreign_and_unknown_ids_answer_the_same_bytes(
    stack: Stack, client: Client, http: aiohttp.ClientSession
) -> None:
    async with stack.history() as history:
        key = await history.create_key(NewKey(workspace="another", scopes=frozenset(Scope) - {Scope.CHAT_PUBLIC}))
    stranger = Client(http, client.base_url, key.secret)
    session_id = await client.session(stack.facts["agentId"])
    for path in ("", "/messages", "/turns/trn_00000000000000000000000000"):
        answers = [
            await stranger.call("GET", f"/chat/sessions/{found}{path}")
            for found in (session_id, new_id("ses"), "ses_1", "a%00b", "..%2f..%2fx")
        ]
        for status, body in answers:
            body.pop("instance")
            assert status == 404
            assert body == answers[0][1]


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"content": 5}',
        b'{"content": ""}',
        b'{"content": "a", "unknown": 1}',
        b'{"content": "a\\u0000b"}',
        b'{"content": "\\ud800"}',
        b'{"content": "a", "metadata": {"n": 9223372036854775808}}',
        b'{"content": "a", "metadata": {"n": NaN}}',
        b'{"content": "\xff"}',
        b'{"content": "' + b"a" * 300_000 + b'"}',
        b"[" * 10_000 + b"]" * 10_000,
    ],
)
async def test_bad_bodies_are_refused_and_nothing_is_stored(stack: Stack, client: Client, raw: bytes) -> None:
    session_id = await client.session(stack.facts["agentId"])
    url = f"{client.base_url}/api/v1/chat/sessions/{session_id}/messages"
    async with client.http.post(
        url, data=raw, headers={**client.headers, "Content-Type": "application/json"}
    ) as answer:
        body = await answer.json(content_type=None)
        assert 400 <= answer.status < 500, body
        assert body["error"]["message"]
        assert body["instance"] == answer.headers["x-request-id"]
    assert await client.messages(session_id) == []


async def test_an_ended_session_takes_no_message(stack: Stack, client: Client) -> None:
    session_id = await client.session(stack.facts["agentId"])
    for _ in range(2):
        status, body = await client.call("POST", f"/chat/sessions/{session_id}/end")
        assert (status, body["data"]["status"]) == (200, "ended")
    status, body = await client.call("POST", f"/chat/sessions/{session_id}/messages", {"content": "hello?"})
    assert (status, body["code"]) == (409, "session_ended")


async def test_openapi_is_served_by_the_gateway(client: Client) -> None:
    status, document = await client.call("GET", "/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")
    assert "/chat/completions" in " ".join(document["paths"])
