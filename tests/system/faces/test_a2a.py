"""The A2A face of the running stack, driven by the official Python client over both of its HTTP bindings."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from shared.contracts.tools import HttpTool
from tests.system.faces import a2a_client
from tests.system.faces.a2a_client import Told, message
from tests.system.faces.cut_line import CutLine
from tests.system.stack import Client, Stack

BINDINGS = pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
# For tests that take long: both bindings only where there is time.
LONG_BINDINGS = pytest.mark.parametrize("binding", ["JSONRPC", pytest.param("HTTP+JSON", marks=pytest.mark.long)])
pytestmark = pytest.mark.timeout(360)  # Of which a clean checkout needs the most for the installation.


@pytest.fixture(scope="module")
def python() -> Path:
    return a2a_client.installed()


@pytest.fixture
def key(stack: Stack) -> str:
    return str(stack.facts["secretKey"])


def url(client: Client, agent_id: str, base: str | None = None) -> str:
    return f"{base or client.base_url}/api/v1/agents/{agent_id}/a2a"


@BINDINGS
async def test_a_conversation_of_tasks_ends_as_it_is_stored(
    stack: Stack, client: Client, python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=40,text=echo,delay=1", description="Knows all about pizza.")
    streamed, sent, got, named, listed, of_context = await a2a_client.run(
        python,
        url(client, agent_id),
        key,
        binding,
        {"do": "stream", "params": message("Hello?", message_id="m1")},
        {"do": "send", "params": message("And now?", context="$context")},
        {"do": "get", "params": {"id": "$task"}},
        {"do": "send", "params": message("Mine.", context="my own context")},
        {"do": "list", "params": {"includeArtifacts": True}},
        {"do": "list", "params": {"contextId": "my own context", "pageSize": 1}},
    )
    first, second, third = Told.of(streamed), Told.of(sent), Told.of(named)
    assert first.states[0] == "TASK_STATE_SUBMITTED"
    assert [told.state for told in (first, second, third)] == ["TASK_STATE_COMPLETED"] * 3
    assert first.text == scripted_answer("Hello?", 40)
    assert second.task["contextId"] == first.task["contextId"]
    assert third.task["contextId"] == "my own context"
    assert Told.of(got).task == second.task
    assert [each["messageId"] for each in first.task["history"]] == ["m1"]
    for told in (first, second, third):
        session_id = told.task["metadata"]["sessionId"]
        assert await client.stored_text(session_id, told.task["id"]) == told.text
    tasks = listed[0]["event"]["tasks"]
    assert [task["id"] for task in tasks] == [third.task["id"], second.task["id"], first.task["id"]]
    assert tasks[2]["artifacts"][0]["parts"] == [{"text": first.text}]
    assert of_context[0]["event"]["totalSize"] == 1


@BINDINGS
async def test_a_message_that_is_sent_again_is_the_same_task(
    stack: Stack, client: Client, python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=12,text=echo")
    once = message("Once.", message_id="the same")
    first, again, stream, other = await a2a_client.run(
        python,
        url(client, agent_id),
        key,
        binding,
        {"do": "send", "params": once},
        {"do": "send", "params": once},
        {"do": "stream", "params": once},
        {"do": "send", "params": message("Another.", message_id="the same")},
    )
    told = [Told.of(each) for each in (first, again, stream)]
    assert len({each.task["id"] for each in told}) == 1
    assert {each.text for each in told} == {scripted_answer("Once.", 12)}
    assert other[0]["error"] == "InvalidParamsError"
    assert len(await client.messages(told[0].task["metadata"]["sessionId"])) == 2


@BINDINGS
async def test_the_agents_work_and_its_citations_are_told(
    stack: Stack, client: Client, python: Path, key: str, binding: str
) -> None:
    base_url = stack.facts["modelUrl"].removesuffix("/v1")
    order = HttpTool.model_validate({"name": "order_status", "url": f"{base_url}/tools/order_status"})
    working = await stack.publish('scripted/tokens=4,tool=order_status:{"order_id":"1042"}', tools=(order,))
    (called,) = await a2a_client.run(
        python, url(client, working), key, binding, {"do": "stream", "params": message("Where is it?")}
    )
    assert Told.of(called).activities == ["tool_call", "tool_result"]
    ask = {"do": "stream", "params": message("What does a Margherita cost?")}
    (answered,) = await a2a_client.run(python, url(client, stack.facts["agentId"]), key, binding, ask)
    told = Told.of(answered)
    assert "kb_retrieval" in told.activities
    assert told.citations
    for citation in told.citations:
        assert told.text[int(citation["start"]) : int(citation["end"])].startswith("[")
    assert await client.stored_text(told.task["metadata"]["sessionId"], told.task["id"]) == told.text


@LONG_BINDINGS
async def test_a_worker_that_dies_amid_the_answer_takes_its_text_with_it(
    stack: Stack, client: Client, python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=120,delay=15,text=echo")
    steps = [{"do": "stream", "params": message("who ends it?")}]
    told, killed = Told(), False
    async with a2a_client.start(python, url(client, agent_id), key, binding, *steps) as documents:
        async for document in documents:
            assert "error" not in document, document
            if "event" in document:
                told.apply(document["event"])
            if told.text and not killed:
                killed = True
                for pid in stack.facts["pids"]["worker"]:
                    os.kill(pid, signal.SIGKILL)
    assert told.text == scripted_answer("who ends it?", 120)
    assert (told.state, told.replaced > 0) == ("TASK_STATE_COMPLETED", True)


@pytest.mark.long
@BINDINGS
async def test_a_worker_that_dies_before_the_answer_goes_unnoticed(
    stack: Stack, client: Client, python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=20,first=2500,text=echo")
    steps = [{"do": "stream", "params": message("who answers?")}]
    told, killed = Told(), False
    async with a2a_client.start(python, url(client, agent_id), key, binding, *steps) as documents:
        async for document in documents:
            assert "error" not in document, document
            if "event" in document:
                told.apply(document["event"])
            if "TASK_STATE_WORKING" in told.states and not killed:
                killed = True
                for pid in stack.facts["pids"]["worker"]:
                    os.kill(pid, signal.SIGKILL)
    assert (told.text, told.replaced, killed) == (scripted_answer("who answers?", 20), 0, True)
    assert told.state == "TASK_STATE_COMPLETED"


@BINDINGS
async def test_a_client_whose_line_is_cut_subscribes_again(
    stack: Stack, clients: list[Client], python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=60,delay=25,text=echo")
    steps = [{"do": "stream", "params": message("go on")}, {"do": "subscribe", "params": {"id": "$task"}}]
    told, was_cut, failed = Told(), False, False
    async with (
        CutLine(clients[0].base_url) as line,
        a2a_client.start(python, url(clients[0], agent_id, line.url), key, binding, *steps) as documents,
    ):
        async for document in documents:
            failed = failed or "error" in document
            if "event" in document:
                told.apply(document["event"])
            if told.text and not was_cut:
                was_cut = True
                line.cut()
    assert failed
    assert (told.text, told.state) == (scripted_answer("go on", 60), "TASK_STATE_COMPLETED")
    assert len(await clients[1].messages(told.task["metadata"]["sessionId"])) == 2


@BINDINGS
async def test_a_task_is_cancelled_and_what_it_said_is_kept(
    stack: Stack, clients: list[Client], python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=2000,delay=20,text=echo")
    started, busy, cancelled, again, followed, absent = await a2a_client.run(
        python,
        url(clients[0], agent_id),
        key,
        binding,
        {"do": "send", "params": {**message("long"), "configuration": {"returnImmediately": True}}},
        {"do": "send", "params": message("more", context="$context")},
        {"do": "cancel", "params": {"id": "$task"}},
        {"do": "cancel", "params": {"id": "$task"}},
        {"do": "subscribe", "params": {"id": "$task"}},
        {"do": "get", "params": {"id": "trn_01kb3c9w6n8r2t4v6x8z0b2d4c"}},
    )
    task = Told.of(started).task
    assert task["status"]["state"] in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")
    assert (busy[0]["error"], busy[0]["data"]["taskId"]) == ("UnsupportedOperationError", task["id"])
    assert Told.of(cancelled).state == "TASK_STATE_CANCELED"
    assert [step[0]["error"] for step in (again, followed, absent)] == [
        "TaskNotCancelableError",
        "UnsupportedOperationError",
        "TaskNotFoundError",
    ]
    stored = await clients[1].messages(task["metadata"]["sessionId"])
    assert [row["role"] for row in stored][:1] == ["user"]


@BINDINGS
async def test_what_an_agent_cannot_answer_is_refused_as_the_client_knows_it(
    stack: Stack, client: Client, python: Path, key: str, binding: str
) -> None:
    agent_id = await stack.publish("scripted/tokens=3")
    picture = message("look")
    picture["message"]["parts"].append({"url": "https://a.example/x.png", "mediaType": "image/png"})
    pushed = {**message("hi"), "configuration": {"taskPushNotificationConfig": {"url": "https://a.example/hook"}}}
    absent = "ses_01kb3c9w6n8r2t4v6x8z0b2d4c"
    refused = await a2a_client.run(
        python,
        url(client, agent_id),
        key,
        binding,
        {"do": "stream", "params": message(" ")},
        {"do": "send", "params": picture},
        {"do": "send", "params": pushed},
        {"do": "stream", "params": message("hi", context=absent)},
        {"do": "list", "params": {"pageToken": "nonsense"}},
    )
    assert [step[0]["error"] for step in refused] == [
        "InvalidParamsError",
        "ContentTypeNotSupportedError",
        "PushNotificationNotSupportedError",
        "InvalidParamsError",
        "InvalidParamsError",
    ]


async def raw(client: Client, agent_id: str, body: dict[str, Any], **headers: str) -> tuple[int, Any]:
    answer: tuple[int, Any] = await client.call("POST", f"/agents/{agent_id}/a2a", body, **headers)
    return answer


async def test_a_client_of_an_older_version_is_told_which_one_is_spoken(stack: Stack, client: Client) -> None:
    agent_id = stack.facts["agentId"]
    asked = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}
    for headers in ({}, {"A2A-Version": "0.3"}, {"A2A-Version": "2.0"}):
        status, body = await raw(client, agent_id, asked, **headers)
        assert (status, body["error"]["code"]) == (200, -32009)
        assert body["error"]["data"][0]["metadata"] == {"supportedVersions": "1.0"}
    status, body = await client.call("GET", f"/agents/{agent_id}/a2a/tasks")
    assert (status, body["error"]["details"][0]["reason"]) == (400, "VERSION_NOT_SUPPORTED")
    status, body = await client.call("GET", f"/agents/{agent_id}/a2a/tasks?A2A-Version=1.0&pageSize=1")
    assert (status, set(body)) == (200, {"tasks", "nextPageToken", "pageSize", "totalSize"})
    status, body = await raw(client, agent_id, asked | {"method": "message/send"}, **{"A2A-Version": "1.0"})
    assert body["error"]["code"] == -32601


async def test_a_card_is_sent_again_only_when_it_has_changed(stack: Stack, client: Client) -> None:
    path = f"/agents/{stack.facts['agentId']}/a2a/.well-known/agent-card.json"
    async with client.request("GET", path) as answer:
        assert answer.status == 200
        tag = answer.headers["ETag"]
    async with client.request("GET", path, **{"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
