"""The master of the queue and the run logs is killed behind Sentinel, under load: each accepted turn ends once."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import aiohttp
import pytest

from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually
from tests.sentinels import PASSWORD, WatchedRedis, until
from tests.system.stack import Client, Stack, Transcript

TOKENS = 40
CHATS = 6
WAITING = 12


class Accepted(NamedTuple):
    session_id: str
    turn_id: str
    question: str


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    (tmp_path / "redis").mkdir()
    watched = WatchedRedis(tmp_path / "redis")
    yield watched
    watched.stop()


@pytest.fixture
def stack(tmp_path: Path, watched: WatchedRedis) -> Iterator[Stack]:
    # Few places, so that turns wait in the queue when its master is killed.
    own = {"PARLEY_QUEUE_REDIS_URL": watched.url, "PARLEY_MAX_TURNS": "4", "PARLEY_MAX_TRIES": "20"}
    stack = Stack.start(tmp_path, "--gateways", "2", "--workers", "2", environment=own)
    yield stack
    stack.stop()


async def accept(client: Client, session_id: str, question: str) -> Accepted:
    """Repeats one request, with one idempotency key, until it is accepted."""
    key, found = uuid4().hex, list[Accepted]()

    async def is_accepted() -> bool:
        path = f"/chat/sessions/{session_id}/messages"
        try:
            status, body = await client.call(
                "POST", path, {"content": question}, **{"Prefer": "respond-async", "Idempotency-Key": key}
            )
        except aiohttp.ClientError:
            return False
        if status not in (200, 202):
            assert status == 503, body
            return False
        found.append(Accepted(session_id, body["data"]["turnId"], question))
        return True

    await eventually(is_accepted, within_s=60.0, what="an accepted turn")
    return found[0]


async def follow(client: Client, turn: Accepted) -> Transcript:
    """Its stream to the end, resumed as often as it takes."""
    told = Transcript()

    async def is_over() -> bool:
        try:
            await client.resume(turn.session_id, turn.turn_id, told)
        except aiohttp.ClientError:
            return False
        return told.end is not None

    await eventually(is_over, within_s=60.0, what="the end of a turn")
    return told


async def chat(client: Client, agent_id: str, number: int, over: asyncio.Event) -> list[Accepted]:
    session_id, accepted = await client.session(agent_id), list[Accepted]()
    while not over.is_set():
        turn = await accept(client, session_id, f"chat {number}, question {len(accepted)}")
        told = await follow(client, turn)
        assert told.events()[-1] == "done", told.frames[-1]
        assert told.text == await client.stored_text(turn.session_id, turn.turn_id)
        accepted.append(turn)
    return accepted


def part_from_replicas(watched: WatchedRedis, master: int) -> None:
    """From here on the replicas miss what the master takes."""
    for port in watched.ports:
        if port != master:
            with watched.server(port) as replica:
                replica.config_set("masterauth", "wrong")
    with watched.server(master) as server:
        server.execute_command("CLIENT", "KILL", "TYPE", "replica")
        until(lambda: server.info("replication")["connected_slaves"] == 0, "master without replicas")


def let_replicas_follow(watched: WatchedRedis, old: int) -> None:
    for port in watched.ports:
        if port != old:
            with watched.server(port) as replica:
                replica.config_set("masterauth", PASSWORD)


async def assert_ended_once(client: Client, turns: list[Accepted]) -> None:
    for session_id in {turn.session_id for turn in turns}:
        rows = await client.messages(session_id)
        expected = [turn for turn in turns if turn.session_id == session_id]
        asked = Counter(row["turnId"] for row in rows if row["role"] == "user")
        answered = Counter(row["turnId"] for row in rows if row["role"] == "assistant")
        assert asked == answered == Counter(turn.turn_id for turn in expected)
        texts = {row["turnId"]: row["content"] for row in rows if row["role"] == "assistant"}
        for turn in expected:
            assert texts[turn.turn_id] == scripted_answer(turn.question, TOKENS)


@pytest.mark.long
async def test_a_fail_over_loses_and_doubles_no_accepted_turn(
    http: aiohttp.ClientSession, stack: Stack, watched: WatchedRedis
) -> None:
    """Twelve turns are accepted by a master that no replica follows any more: the new master never heard of them."""
    facts, over = stack.facts, asyncio.Event()
    client = Client(http, facts["baseUrl"], facts["secretKey"])
    agent_id = await stack.publish(f"scripted/tokens={TOKENS},delay=30,text=echo")
    sessions = [await client.session(agent_id) for _ in range(WAITING)]
    async with asyncio.TaskGroup() as group:
        chats = [group.create_task(chat(client, agent_id, number, over)) for number in range(CHATS)]
        master = watched.master_port()
        await asyncio.to_thread(part_from_replicas, watched, master)
        lost = await asyncio.gather(*(accept(client, each, f"lost {each}") for each in sessions))
        old, _ = await asyncio.to_thread(watched.fail_over)
        assert old == master
        let_replicas_follow(watched, old)
        # The old master is back before it knows of the other, and the Sentinels make it a replica.
        watched.start_server(old, old)
        for turn in lost:
            assert (await follow(client, turn)).events()[-1] == "done"
        over.set()
    chatted = [turn for each in chats for turn in each.result()]
    assert len(chatted) >= CHATS
    await assert_ended_once(client, [*chatted, *lost])
    (metrics,) = facts["metrics"]["history"]
    async with http.get(metrics) as answer:
        rows = [row for row in (await answer.text()).splitlines() if row.startswith("parley_turns_reconciled_total{")]
    assert sum(float(row.rpartition(" ")[2]) for row in rows) > 0, (
        "no turn needed the reconciler, so this run has shown nothing"
    )
