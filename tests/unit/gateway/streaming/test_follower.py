"""Where a stream looks for its next frames, and what it gives its client of them."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.gateway.streaming.follower import FIRST_PAGE, LOG_PAGE, PAGE_BYTES, Follower, next_page
from services.gateway.streaming.listener import Listener
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, stream_frame


def delta(seq: int, attempt: int = 1) -> StreamFrame:
    return stream_frame("delta", {"text": f"{seq} "}, FrameId(attempt, seq))


class Log:
    """A run log in memory."""

    def __init__(self, *frames: StreamFrame) -> None:
        self.frames = list(frames)
        self.reads = 0
        self.is_away = False

    async def read(self, _workspace: str, _turn_id: str, after: FrameId, count: int) -> list[StreamFrame]:
        self.reads += 1
        if self.is_away:
            raise RedisConnectionError
        return [frame for frame in self.frames if cast("FrameId", frame.id) > after][:count]


def follower(log: Log, listener: Listener, **more: Any) -> Follower:
    return Follower(cast("Any", SimpleNamespace(logs=log)), "ws", "trn", listener, BEGINNING, **more)


async def first_batch(stream: Follower) -> list[StreamFrame]:
    """Fails instead of waiting, where the stream waits for what is published."""
    async with asyncio.timeout(30):
        while (batch := await stream.step()) is None:
            pass
    return batch


@pytest.mark.parametrize("count", [1, LOG_PAGE - 1, LOG_PAGE, LOG_PAGE + 1, 2 * LOG_PAGE, 3 * LOG_PAGE])
async def test_a_log_of_any_length_is_sent_at_once_where_it_must_be_whole(count: int) -> None:
    """A last page that is exactly full asks for another one, which is empty. 256 frames waited for a heartbeat here."""
    frames = [delta(seq) for seq in range(1, count + 1)]
    assert await first_batch(follower(Log(*frames), Listener(), whole_log_first=True)) == frames


async def test_a_whole_log_that_ends_with_a_full_page_is_sent_without_another_read() -> None:
    end = stream_frame("done", {}, FrameId(1, LOG_PAGE))
    log = Log(*[delta(seq) for seq in range(1, LOG_PAGE)], end)
    assert (await first_batch(follower(log, Listener(), whole_log_first=True)))[-1] == end
    assert log.reads == 1


async def test_the_text_of_a_lost_attempt_comes_together_with_the_restart_that_voids_it() -> None:
    restart = stream_frame("restarted", {"attempt": 2}, FrameId(2, 1))
    frames = [*[delta(seq) for seq in range(1, LOG_PAGE + 1)], restart]
    assert await first_batch(follower(Log(*frames), Listener(), whole_log_first=True)) == frames


async def test_nothing_is_forwarded_before_the_whole_log_was_sent() -> None:
    forwarded = list[bytes]()

    def fast_path(frame: bytes) -> bool:
        forwarded.append(frame)
        return True

    listener = Listener(gap=False)
    stream = follower(Log(), listener, whole_log_first=True, fast_path=fast_path)
    step = asyncio.create_task(stream.step())
    await asyncio.sleep(0)
    listener.deliver(delta(1).data)
    assert await step == [delta(1)]
    step = asyncio.create_task(stream.step())
    await asyncio.sleep(0)
    listener.deliver(delta(2).data)
    assert forwarded == [delta(2).data]
    listener.close()
    await step


async def test_a_heartbeat_passes_while_the_whole_log_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.streaming.follower.LOG_RETRY_S", 0.0)
    log, listener = Log(*[delta(seq) for seq in range(1, LOG_PAGE + 2)]), Listener()
    stream = follower(log, listener, whole_log_first=True)
    assert await stream.step() is None
    log.is_away = True
    listener.heartbeat()
    assert await stream.step() == []
    log.is_away = False
    assert await first_batch(stream) == log.frames


async def test_a_published_frame_of_another_version_sends_the_stream_to_the_log() -> None:
    listener = Listener(gap=False)
    log = Log(delta(1))
    listener.deliver(b'id: 1-1\nevent: delta\ndata: {"text":"1 "}\n\n')
    assert await first_batch(follower(log, listener)) == [delta(1)]


def test_pages_grow_with_small_frames_and_shrink_with_large_ones() -> None:
    assert next_page(FIRST_PAGE, 100) == 2 * FIRST_PAGE
    assert next_page(LOG_PAGE, 100) == LOG_PAGE
    assert next_page(8, PAGE_BYTES + 1) == 2
    assert next_page(1, PAGE_BYTES + 1) == 1
    assert next_page(8, PAGE_BYTES // 2) == 8
