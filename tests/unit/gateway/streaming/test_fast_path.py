"""Frames that go out as they come in: only while the stream waits, only in order, never the last one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from services.gateway.completions.chunks import ChunkStream
from services.gateway.completions.handler import CatchUp
from services.gateway.streaming.follow import _Follower
from services.gateway.streaming.hub import Listener
from shared.contracts.frames import FrameId, StreamFrame, encode, stream_frame
from shared.contracts.turns import Turn
from tests.service.gateway.fakes import now


def frame(attempt: int, seq: int, event: str = "delta", **data: Any) -> bytes:
    return encode(event, data or {"text": f"{seq} "}, FrameId(attempt, seq))


class Client:
    """What a client was sent at once; it takes nothing while it is slow."""

    def __init__(self) -> None:
        self.got = list[bytes]()
        self.slow = False

    def take(self, sent: bytes) -> bool:
        if not self.slow:
            self.got.append(sent)
        return not self.slow


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def listener() -> Listener:
    listener = Listener()
    listener.gap = False
    return listener


async def waiting(listener: Listener, client: Client) -> "asyncio.Task[None]":
    task = asyncio.create_task(listener.wait(client.take))
    await asyncio.sleep(0)
    return task


async def test_a_frame_goes_out_without_waking_the_stream_that_waits(listener: Listener, client: Client) -> None:
    task = await waiting(listener, client)
    listener.offer(b"one")
    listener.offer(b"two")
    await asyncio.sleep(0)
    assert client.got == [b"one", b"two"]
    assert not task.done()
    listener.close()
    await task


async def test_nothing_overtakes_a_frame_that_was_not_taken(listener: Listener, client: Client) -> None:
    task = await waiting(listener, client)
    client.slow = True
    listener.offer(b"one")
    client.slow = False
    listener.offer(b"two")
    await task
    assert client.got == []
    assert listener.take() == [b"one", b"two"]


async def test_a_stream_that_fails_harms_no_other(listener: Listener) -> None:
    def fail(_: bytes) -> bool:
        raise RuntimeError

    task = asyncio.create_task(listener.wait(fail))
    await asyncio.sleep(0)
    listener.offer(b"one")
    await task
    assert listener.take() == [b"one"]


async def test_frames_are_kept_while_the_stream_is_busy(listener: Listener, client: Client) -> None:
    task = await waiting(listener, client)
    listener.nudge()
    await task
    listener.offer(b"one")
    assert client.got == []
    assert listener.take() == [b"one"]


def follower(listener: Listener, client: Client, after: FrameId) -> _Follower:
    return _Follower(cast("Any", None), "ws", "trn", listener, after, ended=False, page=128, forward=client.take)


@pytest.mark.parametrize(
    "not_next",
    [frame(1, 5), frame(1, 3), frame(1, 4, "done"), frame(1, 4, "error"), frame(2, 1), frame(2, 4), frame(1, 44)],
    ids=["a gap", "seen before", "done", "error", "a later attempt", "its fourth", "a longer number"],
)
async def test_only_the_next_frame_is_forwarded(listener: Listener, client: Client, not_next: bytes) -> None:
    stream = follower(listener, client, FrameId(1, 3))
    step = asyncio.create_task(stream.step())
    await asyncio.sleep(0)
    listener.offer(not_next)
    await step
    assert client.got == []


async def test_what_was_forwarded_is_not_told_again_and_what_follows_it_is_told(
    listener: Listener, client: Client
) -> None:
    stream = follower(listener, client, FrameId(1, 3))
    step = asyncio.create_task(stream.step())
    await asyncio.sleep(0)
    for published in (frame(1, 4), frame(1, 5), frame(1, 5), frame(1, 6, "done")):
        listener.offer(published)
    assert client.got == [frame(1, 4), frame(1, 5)]
    assert await step == [StreamFrame(FrameId(1, 6), frame(1, 6, "done"))]


async def test_nothing_overtakes_a_log_that_is_held_back_until_it_is_whole(listener: Listener, client: Client) -> None:
    """A full page asks for another, which may be empty: then a live frame comes before the page has been told."""
    start = CatchUp(listener)
    forward = start.guard(client.take)
    page, live = StreamFrame(FrameId(1, 1), b"page"), StreamFrame(FrameId(1, 2), b"live")

    async def frames() -> AsyncIterator[list[StreamFrame]]:
        listener.gap = True
        yield [page]
        listener.gap = False
        assert not forward(b"live")
        yield [live]
        assert forward(b"later")

    assert [batch async for batch in start.of(frames())] == [[page, live]]
    assert client.got == [b"later"]


async def test_a_log_that_ends_with_a_full_page_is_told(listener: Listener) -> None:
    async def frames() -> AsyncIterator[list[StreamFrame]]:
        listener.gap = True
        yield [StreamFrame(FrameId(1, 1), b"done")]

    assert [batch async for batch in CatchUp(listener).of(frames())] == [[StreamFrame(FrameId(1, 1), b"done")]]


def chunk_stream() -> ChunkStream:
    turn = Turn(id="trn_1", status="running", agent_id="agt_1", agent_version=1, created_at=now())
    return ChunkStream(turn, include_usage=True)


def test_a_forwarded_piece_of_text_is_the_same_chunk() -> None:
    frame = stream_frame("delta", {"text": 'a "quoted" \u2028 word, and \nid: 1-1\n\n'}, FrameId(2, 17))
    assert chunk_stream().published(frame.data) == chunk_stream().render([frame]).data


def test_only_text_is_forwarded_as_a_chunk() -> None:
    published = frame(1, 1, "started", turnId="trn_1")
    assert chunk_stream().published(published) is None


def test_a_restart_after_forwarded_text_breaks_the_stream_off() -> None:
    chunks = chunk_stream()
    chunks.published(frame(1, 2))
    assert b'"error"' in chunks.render([stream_frame("restarted", {"attempt": 2}, FrameId(2, 1))]).data
