"""The live stream of a session: its order, its ids, its resumption, and what repairs a lost message."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from services.gateway.streaming import hub as hub_module
from shared.contracts.keys import Scope
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.gateway.fakes import Stage, stage
from tests.service.gateway.reading import Frame, frame_of, frames, next_block

CUTS = 200


async def post(gateway: Stage, session: str, text: str = "Hello?") -> str:
    """A turn that nobody waits for."""
    count = len(gateway.history.turns) + 1
    headers = {"Prefer": "respond-async"}
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": text}, headers=headers) as response:
        assert response.status == 202, await response.text()
    return await gateway.admitted(count)


def path(session: str, **query: str) -> str:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/chat/sessions/{session}/events" + (f"?{text}" if text else "")


async def end(gateway: Stage, session: str) -> None:
    await gateway.history.end_session("ws_one", session)


@asynccontextmanager
async def following(
    gateway: Stage, session: str, after: str | None = None, **query: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Last-Event-ID": after} if after else {}
    async with gateway.client.get(gateway.url(path(session, **query)), headers=headers) as response:
        assert response.status == 200, await response.text()
        yield response


async def whole(gateway: Stage, session: str, after: str | None = None, **query: str) -> list[Frame]:
    """Everything up to the session's end."""
    async with following(gateway, session, after, **query) as response:
        return await frames(response)


def names(told: Sequence[Frame]) -> list[tuple[str, str | None]]:
    return [(frame.event, frame.id) for frame in told]


async def test_a_session_tells_its_turns_and_its_end(gateway: Stage) -> None:
    session = await gateway.session()
    async with following(gateway, session) as response:
        first = await post(gateway, session, "One?")
        started = frame_of(await next_block(response))
        assert (started.event, started.id) == ("turn_started", f"{first}.0-0")
        assert started.data["number"] == 1
        assert [message["content"] for message in started.data["messages"]] == ["One?"]
        await gateway.answer(first, "Yes.")
        ended = frame_of(await next_block(response))
        assert (ended.event, ended.id) == ("turn_ended", f"{first}.1-3")
        assert (ended.data["status"], ended.data["messages"][0]["content"]) == ("completed", "Yes.")
        await end(gateway, session)
        last = frame_of(await next_block(response))
        assert (last.event, last.id, last.data["endedReason"]) == ("session_ended", None, "api")
        assert await response.content.read() == b""


async def test_the_running_turns_frames_come_on_request_and_nothing_else_differs(gateway: Stage) -> None:
    session = await gateway.session()
    async with following(gateway, session) as plain, following(gateway, session, frames="true") as full:
        turn = await post(gateway, session)
        await gateway.answer(turn, "a", "b")
        await end(gateway, session)
        told, detailed = await frames(plain), await frames(full)
    assert [frame for frame in detailed if frame.event not in ("started", "delta")] == told
    assert [frame.data["text"] for frame in detailed if frame.event == "delta"] == ["a", "b"]
    assert [frame.id for frame in detailed[:-1]] == [f"{turn}.{n}" for n in ("0-0", "1-1", "1-2", "1-3", "1-4")]
    # A reader who comes after the end is told the same, with the same bytes.
    assert await whole(gateway, session) == told


async def test_two_gateways_and_a_late_reader_tell_the_same_order(redis_url: str) -> None:
    async with stage(redis_url) as one, stage(redis_url, history=one.history) as two:
        session = await one.session()
        async with following(one, session, frames="true") as first, following(two, session, frames="true") as second:
            for number in range(3):
                await one.answer(await post(one if number % 2 else two, session, f"Question {number}"), "some ", "text")
            turn = await post(one, session, "The last question")
            async with following(two, session, frames="true") as late:
                await one.answer(turn, "some ", "text")
                await end(two, session)
                told = [await frames(reader) for reader in (first, second, late)]
    assert told[0] == told[1]
    # The late reader gets the ended turns without their frames, and the running one like everybody.
    facts = [frame for frame in told[0] if frame.event.startswith(("turn_", "session_"))]
    assert [frame for frame in told[2] if frame.event.startswith(("turn_", "session_"))] == facts
    assert [frame for frame in told[2] if (frame.id or "").startswith(turn)] == [
        frame for frame in told[0] if (frame.id or "").startswith(turn)
    ]


async def test_a_stream_cut_at_random_200_times_has_no_gap_and_no_repeat(redis_url: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with stage(redis_url) as one, stage(redis_url, history=one.history) as two:
        session = await one.session()
        async with following(one, session, frames="true") as reference:
            conversation = asyncio.create_task(_converse(one, session, turns=CUTS // 5))
            read = await _cut_again_and_again((one, two), session, chance)
            await conversation
            uncut = await frames(reference)
    assert names(read) == names(uncut)
    assert read == uncut


async def _converse(gateway: Stage, session: str, turns: int) -> None:
    for number in range(turns):
        turn = await post(gateway, session, f"Question {number}")
        await gateway.answer(turn, *(f"{number}.{piece} " for piece in range(12)))
    await end(gateway, session)


async def _cut_again_and_again(gateways: Sequence[Stage], session: str, chance: random.Random) -> list[Frame]:
    """Reads the whole session; each connection is cut after a few frames, and the next one is to any gateway."""
    read: list[Frame] = []
    cuts = 0
    while True:
        after = read[-1].id if read else None
        frames_left = chance.randint(1, 4) if cuts < CUTS else 1 << 30
        async with following(chance.choice(gateways), session, after, frames="true") as response:
            for _ in range(frames_left):
                frame = frame_of(await next_block(response))
                read.append(frame)
                if frame.event == "session_ended":
                    assert cuts >= CUTS
                    return read
            cuts += 1
            response.close()


async def test_messages_that_the_channel_loses_are_found_by_asking_history(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_S", 0.2)
    async with stage(redis_url) as gateway:

        async def nothing(*_: Any) -> None: ...

        session = await gateway.session()
        async with following(gateway, session) as response:
            monkeypatch.setattr(gateway.dependencies.logs, "signal_session", nothing)
            monkeypatch.setattr(gateway.history, "_logs", _Deaf())
            turn = await post(gateway, session)
            assert frame_of(await next_block(response)).event == "turn_started"
            await gateway.history.finish(turn, 1, [])
            assert frame_of(await next_block(response)).event == "turn_ended"
            await end(gateway, session)
            assert frame_of(await next_block(response)).event == "session_ended"


class _Deaf:
    async def append_terminal(self, *_: Any) -> bool:
        return True

    async def signal_session(self, *_: Any) -> None: ...


async def test_a_silent_session_shows_signs_of_life(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_S", 0.2)
    async with stage(redis_url) as gateway:
        session = await gateway.session()
        async with following(gateway, session) as response:
            for _ in range(3):
                assert await response.content.readuntil(b"\n\n") == b": ping\n\n"


async def test_a_reader_with_everything_of_an_ended_session_gets_204(gateway: Stage) -> None:
    session = await gateway.session()
    turn = await post(gateway, session)
    await gateway.answer(turn, "a")
    await end(gateway, session)
    told = await whole(gateway, session)
    for after, status in ((told[-2].id, 204), (told[0].id, 200)):
        headers = {"Last-Event-ID": str(after)}
        async with gateway.client.get(gateway.url(path(session)), headers=headers) as response:
            assert response.status == status
    assert names(await whole(gateway, session, told[0].id)) == names(told[1:])


async def test_a_position_of_another_session_is_refused_like_one_that_does_not_exist(gateway: Stage) -> None:
    mine, other = await gateway.session(), await gateway.session()
    foreign = await post(gateway, other)
    told = []
    for turn in (foreign, new_id("trn")):
        async with gateway.client.get(gateway.url(path(mine, lastEventId=f"{turn}.0-0"))) as response:
            told.append((response.status, {**await response.json(), "instance": ""}))
    assert told[0] == told[1]
    assert told[0][0] == 400


async def test_a_foreign_session_has_no_events(gateway: Stage) -> None:
    session = await gateway.session()
    stranger = gateway.history.key(Scope.CHAT_READ, workspace="ws_two")
    headers = {"Authorization": f"Bearer {stranger}"}
    for query in ({}, {"stored": "true"}):
        async with gateway.client.get(gateway.url(path(session, **query)), headers=headers) as response:
            assert response.status == 404
            assert (await response.json())["code"] == "session_not_found"


async def test_a_deleted_sessions_stream_ends_with_an_error(gateway: Stage) -> None:
    session = await gateway.session()
    async with following(gateway, session) as response:
        await gateway.history.delete_session("ws_one", session)
        await gateway.dependencies.logs.signal_session("ws_one", session)
        assert frame_of(await next_block(response)).data["code"] == "session_not_found"
        assert await response.content.read() == b""


async def test_a_draining_gateway_ends_the_stream_and_another_goes_on(redis_url: str) -> None:
    async with stage(redis_url) as one, stage(redis_url, history=one.history) as two:
        session = await one.session()
        turn = await post(one, session)
        async with following(one, session) as response:
            started = frame_of(await next_block(response))
            one.dependencies.drain()
            assert await response.content.read() == b""
        await two.answer(turn, "a")
        async with following(two, session, started.id) as response:
            assert frame_of(await next_block(response)).event == "turn_ended"


async def test_readers_leave_no_subscription_behind(gateway: Stage) -> None:
    session = await gateway.session()
    turn = await post(gateway, session)
    shard = gateway.dependencies.hub._shards[0]
    async with following(gateway, session, frames="true") as response:
        await next_block(response)
        await eventually(lambda: len(shard.subscribers) == 2)
        response.close()
    await gateway.answer(turn, "a")
    await eventually(lambda: not shard.subscribers)


async def test_receipts_have_retrievals_tool_calls_and_timings(gateway: Stage) -> None:
    session = await gateway.session()
    for number in range(3):
        turn = await post(gateway, session, f"Question {number}")
        await gateway.answer(turn, f"Answer {number}")
    seen: list[dict[str, Any]] = []
    query = {"stored": "true", "limit": "2"}
    while True:
        async with gateway.client.get(gateway.url(path(session, **query))) as response:
            assert response.status == 200
            page = await response.json()
        seen += page["data"]
        if page["pagination"]["nextCursor"] is None:
            break
        query["cursor"] = page["pagination"]["nextCursor"]
    assert [receipt["number"] for receipt in seen] == [1, 2, 3]
    assert [receipt["messages"][1]["content"] for receipt in seen] == ["Answer 0", "Answer 1", "Answer 2"]
    assert all(receipt["retrievals"] == receipt["toolCalls"] == [] for receipt in seen)
