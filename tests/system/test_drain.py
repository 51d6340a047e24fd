"""SIGTERM: what runs is finished or handed on, and nobody is told an end that is none."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import aiohttp
import pytest

from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually
from tests.system.stack import Client, Stack, Transcript, read_to_end


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack.start(
        tmp_path_factory.mktemp("drain"), "--gateways", "2", "--workers", "2", environment={"PARLEY_DRAIN_S": "1"}
    )
    yield stack
    stack.stop()


async def test_a_drained_worker_hands_its_turns_on_without_using_up_tries(stack: Stack, clients: list[Client]) -> None:
    """Four drains of three tries: the turn still ends well."""
    question = "handed on and on"
    session_id = await clients[0].session(await stack.publish("scripted/tokens=150,delay=40,text=echo"))
    told = Transcript()
    async with clients[0].request(
        "POST", f"/chat/sessions/{session_id}/messages", {"content": question, "stream": True}
    ) as answer:
        reading = asyncio.create_task(read_to_end(answer, told))
        for round_number in range(4):
            await eventually(lambda n=round_number: told.events().count("started") > n and told.text != "", within_s=25)  # type: ignore[misc]
            for pid in stack.facts["pids"]["worker"]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(200):
            await reading
    assert told.end is not None, told.events()
    assert told.end.event == "done", told.end.data
    assert told.events().count("restarted") == 4
    assert told.text == scripted_answer(question, 150)


@pytest.mark.parametrize("streams", [100, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_a_gateway_ends_many_streams_in_time_and_they_resume_elsewhere(
    streams: int, stack: Stack, clients: list[Client]
) -> None:
    # Few tokens a second: reading them all on a busy host is not what is tried here.
    agent_id = await stack.publish("scripted/tokens=1200,delay=250,text=echo")
    sessions = [await clients[0].session(agent_id) for _ in range(4)]
    turns = list[str]()
    for session_id in sessions:
        status, body = await clients[0].call(
            "POST", f"/chat/sessions/{session_id}/messages", {"content": session_id}, Prefer="respond-async"
        )
        assert status == 202
        turns.append(body["data"]["turnId"])
    told = [Transcript() for _ in range(streams)]
    gate = asyncio.Semaphore(100)

    async def follow(number: int) -> None:
        path = f"/chat/sessions/{sessions[number % 4]}/turns/{turns[number % 4]}/events"
        async with gate:
            answer = await clients[0].request("GET", path).__aenter__()
        assert answer.status == 200
        await read_to_end(answer, told[number])

    readers = [asyncio.create_task(follow(number)) for number in range(streams)]
    await eventually(lambda: all(one.text for one in told), within_s=90, what="text on every stream")
    pid = stack.facts["pids"]["gateway"][0]
    os.kill(pid, signal.SIGTERM)
    # The promise is 5 s. Without it the exit would wait for the streams, which last for 300 s.
    await eventually(lambda: not _runs(pid), within_s=7, what="the gateway's exit")
    await asyncio.gather(*readers)
    assert all(one.end is None for one in told), "no stream was told an end"

    for session_id, turn_id in zip(sessions, turns, strict=True):
        status, _ = await clients[1].call("POST", f"/chat/sessions/{session_id}/turns/{turn_id}/cancel")
        assert status == 200
    for number in range(8):
        session_id, turn_id = sessions[number % 4], turns[number % 4]
        assert await clients[1].resume(session_id, turn_id, told[number]) == 200
        assert told[number].end is not None
        assert told[number].text == await clients[1].stored_text(session_id, turn_id)
        assert scripted_answer(session_id, 1200).startswith(told[number].text)
        ids = [frame.id for frame in told[number].frames if frame.id]
        assert ids == [f"1-{seq}" for seq in range(1, len(ids) + 1)]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_waiting_caller_is_told_to_ask_again(stack: Stack, clients: list[Client]) -> None:
    await eventually(lambda: _ready(clients[1]), within_s=20)
    session_id = await clients[1].session(await stack.publish("scripted/tokens=100,delay=50"))
    waiting = asyncio.create_task(clients[1].call("POST", f"/chat/sessions/{session_id}/messages", {"content": "wait"}))
    await eventually(lambda: _has_message(clients[1], session_id))
    os.kill(stack.facts["pids"]["gateway"][1], signal.SIGTERM)
    status, body = await waiting
    assert (status, body["code"]) == (503, "draining")
    turn = f"/chat/sessions/{session_id}/turns/{body['turnId']}"
    await eventually(lambda: _ready(clients[0]), within_s=20)
    await eventually(lambda: _is_completed(clients[0], turn), within_s=30)


async def _ready(client: Client) -> bool:
    try:
        async with client.http.get(client.base_url + "/readyz") as answer:
            return bool(answer.status == 200)
    except aiohttp.ClientError:
        return False


async def _has_message(client: Client, session_id: str) -> bool:
    return len(await client.messages(session_id)) > 0


async def _is_completed(client: Client, turn: str) -> bool:
    status, body = await client.call("GET", turn)
    return status == 200 and body["data"]["status"] == "completed"
