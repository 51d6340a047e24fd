"""The run log's writer, reader and terminal append against a real Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts.frames import BEGINNING, FrameId, data_of, decode, encode, stream_frame
from shared.ids import new_id
from shared.run_log.keys import log_key
from shared.run_log.reader import ERASED_MS, RunLogs, written_text
from shared.run_log.writer import FRAME_TEXT, Fenced, LogWriter
from tests.conftest import eventually

WS = "ws"


@pytest.fixture
async def logs(redis_url: str) -> AsyncIterator[RunLogs]:
    async with RunLogs([redis_url], keep_s=900) as logs:
        yield logs


@pytest.fixture
async def writer(redis_url: str) -> AsyncIterator[LogWriter]:
    async with LogWriter([redis_url], ttl_s=600) as writer:
        yield writer


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def ids(logs: RunLogs, turn_id: str) -> list[str]:
    return [str(frame.id) for frame in await logs.read(WS, turn_id, BEGINNING)]


async def test_deltas_of_one_flush_become_one_frame_and_no_text_is_lost(logs: RunLogs, writer: LogWriter) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 1)
    turn.frame("started", {"attempt": 1})
    for word in ("a ", "b ", "c"):
        turn.delta(word)
    await turn.flush()
    turn.delta("d")
    await turn.flush()
    frames = await logs.read(WS, turn_id, BEGINNING)
    assert [frame.event for frame in frames] == ["started", "delta", "delta"]
    assert written_text(frames) == "a b cd"
    assert [frame.id for frame in frames] == [FrameId(1, 1), FrameId(1, 2), FrameId(1, 3)]
    assert turn.last_seq == 3


async def test_what_is_published_is_what_the_log_holds(logs: RunLogs, writer: LogWriter, client: Redis) -> None:
    turn_id = new_id("trn")
    async with client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(log_key(WS, turn_id))
        await channel.get_message(timeout=1)
        turn = writer.open(WS, turn_id, 1)
        turn.delta("hé\u2028llo")
        await turn.flush()
        frame = dict[str, bytes]()
        await eventually_message(channel, frame)
    assert decode(frame["data"]) == (await logs.read(WS, turn_id, BEGINNING))[0]
    assert b"\\u2028" in frame["data"]
    assert data_of(frame["data"]) == {"text": "hé\u2028llo"}


async def eventually_message(channel: object, into: dict[str, bytes]) -> None:
    async def one() -> bool:
        message = await channel.get_message(timeout=0.1)  # type: ignore[attr-defined]
        into.update(message or {})
        return message is not None

    await eventually(one)


async def test_a_later_attempt_fences_the_earlier_one(logs: RunLogs, writer: LogWriter) -> None:
    turn_id = new_id("trn")
    old, new = writer.open(WS, turn_id, 1), writer.open(WS, turn_id, 2)
    old.delta("old")
    await old.flush()
    new.delta("new")
    await new.flush()
    old.delta("late")
    with pytest.raises(Fenced):
        await old.flush()
    with pytest.raises(Fenced):
        old.delta("later")
    assert await ids(logs, turn_id) == ["1-1", "2-1"]
    assert written_text(await logs.read(WS, turn_id, BEGINNING)) == "new"


async def test_one_turns_fence_harms_no_other(logs: RunLogs, writer: LogWriter) -> None:
    fenced_id, other_id = new_id("trn"), new_id("trn")
    later = writer.open(WS, fenced_id, 2)
    later.delta("x")
    await later.flush()
    fenced, other = writer.open(WS, fenced_id, 1), writer.open(WS, other_id, 1)
    fenced.delta("late")
    other.delta("fine")
    await other.flush()
    assert await ids(logs, other_id) == ["1-1"]


async def test_a_log_that_cannot_be_written_harms_no_other(logs: RunLogs, writer: LogWriter, client: Redis) -> None:
    broken_id, other_id = new_id("trn"), new_id("trn")
    await client.set(log_key(WS, broken_id), "not a stream")
    broken, other = writer.open(WS, broken_id, 1), writer.open(WS, other_id, 1)
    for turn in (broken, other):
        turn.delta("x")
    await eventually(lambda: ids(logs, other_id))
    assert not broken.idle.is_set()
    await client.delete(log_key(WS, broken_id))
    await broken.flush()
    assert await ids(logs, broken_id) == ["1-1"]


async def test_long_text_is_cut_into_frames_that_a_slow_reader_can_take_one_by_one(
    logs: RunLogs, writer: LogWriter
) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 1)
    turn.delta("🍕" * (2 * FRAME_TEXT + 1))
    await turn.flush()
    frames = await logs.read(WS, turn_id, BEGINNING)
    assert [len(data_of(frame.data)["text"]) for frame in frames] == [FRAME_TEXT, FRAME_TEXT, 1]
    assert written_text(frames) == "🍕" * (2 * FRAME_TEXT + 1)


async def test_who_asks_after_a_read_was_sent_gets_an_answer_of_its_own(
    logs: RunLogs, writer: LogWriter, client: Redis
) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 1)
    turn.delta("first")
    await turn.flush()
    before = (await client.info("commandstats"))["cmdstat_xrange"]["calls"] if await ids(logs, turn_id) else 0
    together = await asyncio.gather(*(logs.read(WS, turn_id, BEGINNING) for _ in range(50)))
    assert all(len(frames) == 1 for frames in together)
    assert (await client.info("commandstats"))["cmdstat_xrange"]["calls"] == before + 1
    early = asyncio.create_task(logs.read(WS, turn_id, BEGINNING))
    turn.delta("second")
    await turn.flush()
    assert len(await logs.read(WS, turn_id, BEGINNING)) == 2
    await early


async def test_a_flushed_log_is_written_again_by_the_attempt_that_runs(
    logs: RunLogs, writer: LogWriter, client: Redis
) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 3)
    for word in ("one ", "two "):
        turn.delta(word)
        await turn.flush()
    await client.flushall()
    turn.delta("three")
    await turn.flush()
    frames = await logs.read(WS, turn_id, BEGINNING)
    assert [str(frame.id) for frame in frames] == ["3-1", "3-2", "3-3"]
    assert written_text(frames) == "one two three"


async def test_cut_connections_lose_and_repeat_nothing(logs: RunLogs, writer: LogWriter, client: Redis) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 1)
    words = [f"w{number} " for number in range(300)]
    for number, word in enumerate(words):
        turn.delta(word)
        if number % 40 == 0:
            await client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0)
    await turn.flush()
    frames = await logs.read(WS, turn_id, BEGINNING, 1000)
    assert written_text(frames) == "".join(words)
    assert [frame.id.seq for frame in frames if frame.id] == list(range(1, len(frames) + 1))


async def test_the_end_is_appended_once_and_keeps_the_log_for_a_while(
    logs: RunLogs, writer: LogWriter, client: Redis
) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 1)
    turn.delta("x")
    await turn.flush()
    assert await logs.append_terminal(WS, turn_id, FrameId(1, 2), "done", {"turnId": turn_id})
    assert not await logs.append_terminal(WS, turn_id, FrameId(1, 2), "done", {"turnId": turn_id})
    assert await ids(logs, turn_id) == ["1-1", "1-2"]
    assert 800_000 < await client.pttl(log_key(WS, turn_id)) <= 900_000


async def test_a_flushed_log_is_still_ended(logs: RunLogs) -> None:
    assert await logs.append_terminal(WS, turn_id := new_id("trn"), FrameId(1, 9), "done", {})
    assert await ids(logs, turn_id) == ["1-9"]


async def test_an_erased_log_is_written_by_nobody(logs: RunLogs, writer: LogWriter, client: Redis) -> None:
    """By none of the turn's attempts, and by nobody who appends its end. The other turns go on."""
    turn_id = new_id("trn")
    turn, other = writer.open(WS, turn_id, 1), writer.open(WS, other_id := new_id("trn"), 1)
    for each in (turn, other):
        each.delta("secret")
        await each.flush()
    await logs.erase(WS, turn_id)
    for each in (turn, writer.open(WS, turn_id, 1), writer.open(WS, turn_id, 2)):
        each.delta("more")
        with pytest.raises(Fenced):
            await each.flush()
    assert not await logs.append_terminal(WS, turn_id, FrameId(3, 1), "done", {"messages": ["secret"]})
    other.delta("more")
    await other.flush()
    assert (await ids(logs, turn_id), await ids(logs, other_id)) == ([], ["1-1", "1-2"])
    assert await client.exists(log_key(WS, turn_id)) == 0
    assert 0 < await client.pttl(f"erased:{log_key(WS, turn_id)}") <= ERASED_MS


async def test_a_log_expires_by_itself(logs: RunLogs, redis_url: str) -> None:
    async with LogWriter([redis_url], ttl_s=0.2) as writer:
        turn = writer.open(WS, turn_id := new_id("trn"), 1)
        turn.delta("x")
        await turn.flush()
        await eventually(lambda: _is_gone(logs, turn_id))


async def _is_gone(logs: RunLogs, turn_id: str) -> bool:
    return await logs.tail(WS, turn_id) == BEGINNING


async def test_back_pressure_makes_a_turn_wait(redis_url: str, client: Redis) -> None:
    async with LogWriter([redis_url], ttl_s=60) as writer:
        turn = writer.open(WS, new_id("trn"), 1)
        turn.delta("x" * (5 << 20))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await turn.room()
        await turn.flush()
        await turn.room()


async def test_text_that_cannot_be_a_frame_fails_its_own_turn_only(logs: RunLogs, writer: LogWriter) -> None:
    broken, other = writer.open(WS, new_id("trn"), 1), writer.open(WS, other_id := new_id("trn"), 1)
    broken.delta("half a character: \ud83d")
    other.delta("fine")
    with pytest.raises(TypeError):
        await broken.flush()
    with pytest.raises(TypeError):
        broken.delta("more")
    async with asyncio.timeout(30):
        await other.flush()
        other.delta(" still")
        await other.flush()
    assert written_text(await logs.read(WS, other_id, BEGINNING)) == "fine still"


async def test_an_entry_says_which_version_it_is_of(writer: LogWriter, logs: RunLogs, client: Redis) -> None:
    turn = writer.open(WS, turn_id := new_id("trn"), 1)
    turn.delta("x")
    await turn.flush()
    await logs.append_terminal(WS, turn_id, FrameId(1, 2), "done", {})
    rows = await client.xrange(log_key(WS, turn_id))
    assert [fields[b"v"] for _, fields in rows] == [b"2", b"2"]
    assert rows[0][1][b"f"] == encode("delta", {"text": "x"}, FrameId(1, 1))


async def test_a_log_without_versions_is_read_as_version_1(logs: RunLogs, client: Redis) -> None:
    key = log_key(WS, turn_id := new_id("trn"))
    await client.xadd(key, {"f": b'event: delta\ndata: {"text":"old"}\n\n'}, id="1-1")
    assert await logs.read(WS, turn_id, BEGINNING) == [stream_frame("delta", {"text": "old"}, FrameId(1, 1))]


async def test_a_log_of_a_later_version_counts_as_unavailable(logs: RunLogs, client: Redis) -> None:
    key = log_key(WS, turn_id := new_id("trn"))
    await client.xadd(key, {"v": "99", "f": b"?"}, id="1-1")
    with pytest.raises(RedisError):
        await logs.read(WS, turn_id, BEGINNING)


async def test_a_process_tells_how_many_stream_redises_its_list_has(redis_url: str) -> None:
    urls = [redis_url, f"{redis_url}#since=2999-01-01T00:00:00Z", f"{redis_url}#until=2001-01-01T00:00:00Z"]
    async with RunLogs(urls, keep_s=1):
        found = {
            state: REGISTRY.get_sample_value("parley_stream_shards", {"state": state})
            for state in ("active", "planned", "draining")
        }
    assert found == {"active": 1.0, "planned": 1.0, "draining": 1.0}


async def test_a_turn_that_began_before_a_redis_was_added_is_read_where_it_was_written(redis_url: str) -> None:
    """The two databases stand for two servers; the writer does not know of the second one yet."""
    second = redis_url.rpartition("/")[0] + "/1"
    turns = [new_id("trn") for _ in range(20)]
    async with (
        LogWriter([redis_url], ttl_s=60) as old,
        RunLogs([redis_url, f"{second}#since=2999-01-01T00:00:00Z"], keep_s=60) as new,
    ):
        for turn in turns:
            writer = old.open("ws", turn, 1)
            writer.frame("started", {})
            await writer.flush()
            assert [str(frame.id) for frame in await new.read("ws", turn, BEGINNING)] == ["1-1"]
            writer.close()


async def test_turns_of_after_the_time_are_spread_over_both(redis_url: str) -> None:
    second = redis_url.rpartition("/")[0] + "/1"
    urls = [redis_url, f"{second}#since=2001-01-01T00:00:00Z"]
    turns = [new_id("trn") for _ in range(40)]
    async with LogWriter(urls, ttl_s=60) as writers, RunLogs(urls, keep_s=60) as logs, Redis.from_url(second) as other:
        await other.flushdb()
        for turn in turns:
            writer = writers.open("ws", turn, 1)
            writer.frame("started", {})
            await writer.flush()
            writer.close()
            assert await logs.tail("ws", turn) == FrameId(1, 1)
        assert 0 < await other.dbsize() < len(turns)
        await other.flushdb()
