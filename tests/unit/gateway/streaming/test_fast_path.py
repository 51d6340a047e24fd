"""Frames that go out as they come in: only while the stream waits, only in order, never the last one."""

import asyncio
from typing import Any, cast

import pytest

from services.gateway.completions.chunks import ChunkStream
from services.gateway.streaming.follower import Follower
from services.gateway.streaming.listener import Listener
from services.gateway.streaming.renderer import End
from services.gateway.streaming.session_renderer import SessionRenderer
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
    listener.deliver(b"one")
    listener.deliver(b"two")
    await asyncio.sleep(0)
    assert client.got == [b"one", b"two"]
    assert not task.done()
    listener.close()
    await task


async def test_nothing_overtakes_a_frame_that_was_not_taken(listener: Listener, client: Client) -> None:
    task = await waiting(listener, client)
    client.slow = True
    listener.deliver(b"one")
    client.slow = False
    listener.deliver(b"two")
    await task
    assert client.got == []
    assert listener.take() == [b"one", b"two"]


async def test_a_stream_that_fails_harms_no_other(listener: Listener) -> None:
    def fail(_: bytes) -> bool:
        raise RuntimeError

    task = asyncio.create_task(listener.wait(fail))
    await asyncio.sleep(0)
    listener.deliver(b"one")
    await task
    assert listener.take() == [b"one"]


async def test_frames_are_kept_while_the_stream_is_busy(listener: Listener, client: Client) -> None:
    task = await waiting(listener, client)
    listener.heartbeat()
    await task
    listener.deliver(b"one")
    assert client.got == []
    assert listener.take() == [b"one"]


def follower(listener: Listener, client: Client, after: FrameId) -> Follower:
    return Follower(cast("Any", None), "ws", "trn", listener, after, fast_path=client.take)


@pytest.mark.parametrize(
    "not_next",
    [frame(1, 5), frame(1, 3), frame(1, 4, "done"), frame(1, 4, "error"), frame(2, 1), frame(2, 4), frame(1, 44)],
    ids=["a gap", "seen before", "done", "error", "a later attempt", "its fourth", "a longer number"],
)
async def test_only_the_next_frame_is_forwarded(listener: Listener, client: Client, not_next: bytes) -> None:
    stream = follower(listener, client, FrameId(1, 3))
    step = asyncio.create_task(stream.step())
    await asyncio.sleep(0)
    listener.deliver(not_next)
    await step
    assert client.got == []


async def test_what_was_forwarded_is_not_told_again_and_what_follows_it_is_told(
    listener: Listener, client: Client
) -> None:
    stream = follower(listener, client, FrameId(1, 3))
    step = asyncio.create_task(stream.step())
    await asyncio.sleep(0)
    for published in (frame(1, 4), frame(1, 5), frame(1, 5), frame(1, 6, "done")):
        listener.deliver(published)
    assert client.got == [frame(1, 4), frame(1, 5)]
    assert await step == [StreamFrame(FrameId(1, 6), frame(1, 6, "done"))]


def chunk_stream() -> ChunkStream:
    turn = Turn(id="trn_1", status="running", agent_id="agt_1", agent_version=1, created_at=now())
    return ChunkStream(turn, include_usage=True)


def test_a_forwarded_piece_of_text_is_the_same_chunk(client: Client) -> None:
    frame = stream_frame("delta", {"text": 'a "quoted" \u2028 word, and \nid: 1-1\n\n'}, FrameId(2, 17))
    assert chunk_stream().fast_path(client.take)(frame.data)
    assert client.got == [chunk_stream().frames([frame]).data]


def test_only_text_is_forwarded_as_a_chunk(client: Client) -> None:
    assert not chunk_stream().fast_path(client.take)(frame(1, 1, "started", turnId="trn_1"))
    assert client.got == []


def test_a_session_gets_published_frames_as_they_are(client: Client) -> None:
    assert SessionRenderer("trn_1", "req_1").fast_path(client.take) == client.take


def test_a_restart_after_forwarded_text_breaks_the_stream_off(client: Client) -> None:
    chunks = chunk_stream()
    chunks.fast_path(client.take)(frame(1, 2))
    assert chunks.frames([stream_frame("restarted", {"attempt": 2}, FrameId(2, 1))]).end is End.BROKEN


def test_text_that_a_slow_client_did_not_take_does_not_count_as_sent(client: Client) -> None:
    chunks = chunk_stream()
    client.slow = True
    assert not chunks.fast_path(client.take)(frame(1, 2))
    assert chunks.frames([stream_frame("restarted", {"attempt": 2}, FrameId(2, 1))]).end is None
