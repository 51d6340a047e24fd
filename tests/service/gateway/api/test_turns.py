import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY

from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId
from shared.contracts.keys import Scope, digest_of
from shared.turn_queue.keys import QUEUE
from shared.turn_queue.queue import decode_job
from tests.conftest import PATIENCE, eventually
from tests.service.gateway import fakes
from tests.service.gateway.fakes import WORKSPACE, Stage, said, stage
from tests.service.gateway.reading import Frame, frame_of, frames, next_block

ALL = (Scope.CHAT_READ, Scope.CHAT_WRITE)


async def test_streamed_turn_shows_every_frame_and_ends_with_what_is_stored(gateway: Stage) -> None:
    session = await gateway.session()
    body = {"content": "Where is my pizza?", "stream": True}
    async with gateway.client.post(gateway.url(f"/chat/sessions/{session}/messages"), json=body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-request-id"].startswith("req_")
        assert "Server" not in response.headers
        turn_id = await gateway.admitted()
        await gateway.answer(turn_id, "On ", "its ", "way.\u2028")
        told = await frames(response)
    assert [frame.event for frame in told] == ["queued", "started", "delta", "delta", "delta", "done"]
    assert [frame.id for frame in told] == [None, "1-1", "1-2", "1-3", "1-4", "1-5"]
    assert told[0].data["sessionId"] == session
    assert told[0].data["userMessageId"] == gateway.history.turns[turn_id].input[0].id
    text = "".join(frame.data["text"] for frame in told if frame.event == "delta")
    assert text == "On its way.\u2028" == told[-1].data["messages"][0]["content"]


async def test_a_message_is_enqueued_only_after_it_was_admitted(gateway: Stage) -> None:
    session = await gateway.session()
    await gateway.history.end_session("ws_one", session)
    async with gateway.client.post(
        gateway.url(f"/chat/sessions/{session}/messages"), json={"content": "hi"}
    ) as response:
        assert response.status == 409
        assert response.headers["x-should-retry"] == "false"
        assert (await response.json())["code"] == "session_ended"
    assert await gateway.dependencies.queue.zcard(QUEUE) == 0


async def test_a_turns_brief_waits_with_its_job(gateway: Stage) -> None:
    session = await gateway.session()
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}))
    turn_id = await gateway.admitted()
    await eventually(lambda: _waits_first(gateway, turn_id))
    assert (
        await gateway.dependencies.queue.execute_command("HGET", f"{QUEUE}:snapshots", turn_id)
        == f"snapshot of {turn_id}".encode()
    )
    await gateway.answer(turn_id, "Hello.")
    assert (await post)[0] == 200


async def _waits_first(gateway: Stage, turn_id: str) -> bool:
    return await gateway.dependencies.queue.position(turn_id) == 0


async def test_waiting_post_answers_with_the_finished_turn(gateway: Stage) -> None:
    session = await gateway.session()
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}))
    turn_id = await gateway.admitted()
    await eventually(lambda: _waits_first(gateway, turn_id))
    await gateway.answer(turn_id, "Hello.")
    status, body = await post
    assert status == 200
    assert body["success"] is True
    assert set(body["data"]) == {"turnId", "status", "finishReason", "messages", "usage"}
    assert body["data"]["messages"][0]["content"] == "Hello."
    assert body["data"]["usage"]["cachedTokens"] == 2


@pytest.mark.parametrize(
    ("code", "status"), [(Code.UPSTREAM_ERROR, 502), (Code.TURN_TIMEOUT, 504), (Code.TURN_FAILED, 500)]
)
async def test_failed_turn_answers_a_waiting_post_with_its_own_status(gateway: Stage, code: Code, status: int) -> None:
    session = await gateway.session()
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}))
    turn_id = await gateway.admitted()
    await gateway.history.finish(turn_id, 1, [], status="failed", finish_reason=None, error=ApiError(code).problem())
    answered, body = await post
    assert (answered, body["code"], body["turnId"]) == (status, str(code), turn_id)


async def test_a_hundred_posts_with_one_idempotency_key_get_one_turn_and_equal_answers(gateway: Stage) -> None:
    session = await gateway.session()
    posts = [
        asyncio.create_task(_post(gateway, session, {"content": "hi"}, {"Idempotency-Key": "k1"})) for _ in range(100)
    ]
    turn_id = await gateway.admitted()
    await gateway.answer(turn_id, "Once.")
    answers = await asyncio.gather(*posts)
    # One job for one turn, however often it was asked for, and none once it has ended.
    assert await gateway.dependencies.queue.zcard(QUEUE) == 1
    await gateway.dependencies.queue.forget(turn_id)
    late = await _post(gateway, session, {"content": "hi"}, {"Idempotency-Key": "k1"})
    assert await gateway.dependencies.queue.zcard(QUEUE) == 0
    assert len(gateway.history.turns) == 1
    assert all(answer == answers[0] for answer in [*answers, late])
    assert answers[0][1]["data"]["turnId"] == turn_id


async def test_a_repeated_key_replays_the_stream_from_its_start(gateway: Stage) -> None:
    session = await gateway.session()
    headers = {"Idempotency-Key": "k1"}
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}, headers))
    await gateway.answer(await gateway.admitted(), "One ", "two.")
    await post
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": "hi", "stream": True}, headers=headers) as response:
        told = await frames(response)
    assert [frame.event for frame in told] == ["queued", "started", "delta", "delta", "done"]


async def _repeated(gateway: Stage, last_id: str, *, keep_log: bool) -> list[Frame]:
    """What a repeat with a cursor receives of a turn with the frames 1-1 to 1-4, the same each time."""
    session = await gateway.session()
    headers = {"Idempotency-Key": "k1"}
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}, headers))
    turn_id = await gateway.admitted()
    await gateway.answer(turn_id, "One ", "two.")
    await post
    if not keep_log:
        await gateway.dependencies.logs.erase(WORKSPACE, turn_id)
    url = gateway.url(f"/chat/sessions/{session}/messages")
    answers = []
    for _ in range(2):
        body = {"content": "hi", "stream": True}
        async with gateway.client.post(url, json=body, headers={**headers, "Last-Event-ID": last_id}) as response:
            assert response.status == 200
            answers.append(await frames(response))
    assert answers[0] == answers[1]
    return answers[0]


@pytest.mark.parametrize(
    ("last_id", "events"),
    [("1-1", ["delta", "delta", "done"]), ("1-3", ["done"]), ("1-4", ["done"]), ("1-9", ["done"])],
)
async def test_a_repeated_key_with_a_last_event_id_continues_after_it_and_always_gets_the_end(
    gateway: Stage, last_id: str, events: list[str]
) -> None:
    received = await _repeated(gateway, last_id, keep_log=True)
    assert [frame.event for frame in received] == events
    assert received[-1].id == "1-4"


@pytest.mark.parametrize(
    ("last_id", "events"), [("1-2", ["restarted", "delta", "done"]), ("1-4", ["done"]), ("2-1", ["done"])]
)
async def test_a_repeated_key_with_a_last_event_id_gets_the_stored_turn_once_its_log_is_gone(
    gateway: Stage, last_id: str, events: list[str]
) -> None:
    assert [frame.event for frame in await _repeated(gateway, last_id, keep_log=False)] == events


async def test_a_repeated_key_continues_a_running_turn_after_the_last_event_id(gateway: Stage) -> None:
    session = await gateway.session()
    url, body = gateway.url(f"/chat/sessions/{session}/messages"), {"content": "hi", "stream": True}
    async with gateway.client.post(url, json=body, headers={"Idempotency-Key": "k1"}) as first:
        turn_id = await gateway.admitted()
        writer = gateway.turn_writer(turn_id)
        for piece in ("One ", "two"):
            writer.delta(piece)
            await writer.flush()
        assert frame_of(await next_block(first)).event == "queued"
        assert frame_of(await next_block(first)).id == "1-1"
    headers = {"Idempotency-Key": "k1", "Last-Event-ID": "1-1"}
    async with gateway.client.post(url, json=body, headers=headers) as second:
        writer.delta(".")
        await writer.flush()
        await gateway.history.finish(turn_id, writer.last_seq + 1, [said("One two.")])
        received = await frames(second)
    assert [frame.id for frame in received] == ["1-2", "1-3", "1-4"]
    assert len(gateway.history.turns) == 1


async def test_a_new_turn_starts_from_its_start_whatever_last_event_id_says(gateway: Stage) -> None:
    session = await gateway.session()
    url, body = gateway.url(f"/chat/sessions/{session}/messages"), {"content": "hi", "stream": True}
    async with gateway.client.post(url, json=body, headers={"Last-Event-ID": "1-7"}) as response:
        await gateway.answer(await gateway.admitted(), "One.")
        assert [frame.event for frame in await frames(response)] == ["queued", "started", "delta", "done"]


async def test_a_malformed_last_event_id_is_refused_before_a_turn_exists(gateway: Stage) -> None:
    session = await gateway.session()
    headers = {"Idempotency-Key": "k1", "Last-Event-ID": "nonsense"}
    status, body = await _post(gateway, session, {"content": "hi", "stream": True}, headers)
    assert (status, body["error"]["param"]) == (400, "Last-Event-ID")
    assert gateway.history.turns == {}


async def test_a_repeated_key_with_another_body_is_refused(gateway: Stage) -> None:
    session = await gateway.session()
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}, {"Idempotency-Key": "k1"}))
    await gateway.answer(await gateway.admitted(), "Once.")
    await post
    status, body = await _post(gateway, session, {"content": "ho"}, {"Idempotency-Key": "k1"})
    assert (status, body["code"]) == (422, "idempotency_mismatch")


async def test_second_message_is_refused_while_one_runs(gateway: Stage) -> None:
    session = await gateway.session()
    status, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    assert status == 202
    status, refusal = await _post(gateway, session, {"content": "ho"})
    assert (status, refusal["code"]) == (409, "turn_in_progress")
    assert refusal["activeTurnId"] == body["data"]["turnId"]


async def test_respond_async_names_the_turn_at_once(gateway: Stage) -> None:
    session = await gateway.session()
    headers = {"Prefer": "wait=5, respond-async"}
    async with gateway.client.post(
        gateway.url(f"/chat/sessions/{session}/messages"), json={"content": "hi"}, headers=headers
    ) as response:
        assert response.status == 202
        assert response.headers["Preference-Applied"] == "respond-async"
        data = (await response.json())["data"]
        assert data["status"] == "queued"
        location = response.headers["Location"]
    async with gateway.client.get(gateway.base + location) as response:
        assert response.status == 200
        assert (await response.json())["data"]["id"] == data["turnId"]


async def test_resumed_stream_has_no_gap_and_no_repeat(gateway: Stage) -> None:
    session = await gateway.session()
    _, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    turn_id = body["data"]["turnId"]
    url = gateway.url(f"/chat/sessions/{session}/turns/{turn_id}/events")
    await gateway.answer(turn_id, *[f"{number} " for number in range(20)])
    async with gateway.client.get(url) as response:
        whole = await frames(response)
    resumed = _resumed()
    for place in range(1, len(whole) - 1):
        last = whole[place].id
        assert last is not None
        async with gateway.client.get(url, params={"lastEventId": last}) as response:
            assert await frames(response) == whole[place + 1 :]
    assert _resumed() == resumed + len(whole) - 2


def _resumed() -> float:
    return REGISTRY.get_sample_value("parley_streams_total", {"kind": "resumed"}) or 0.0


async def test_resume_at_or_past_the_end_is_empty(gateway: Stage) -> None:
    session = await gateway.session()
    _, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    turn_id = body["data"]["turnId"]
    await gateway.answer(turn_id, "Hello.")
    url = gateway.url(f"/chat/sessions/{session}/turns/{turn_id}/events")
    for last in ("1-3", "1-4", "2-1"):
        async with gateway.client.get(url, headers={"Last-Event-ID": last}) as response:
            assert response.status == 204, last
    async with gateway.client.get(url, headers={"Last-Event-ID": "1-2"}) as response:
        assert [frame.event for frame in await frames(response)] == ["done"]


@pytest.mark.parametrize("last", ["1", "0-1", "1-0", "01-1", "1-1-1", "abc", "1-99999999999"])
async def test_malformed_resume_id_is_refused(gateway: Stage, last: str) -> None:
    session = await gateway.session()
    _, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    url = gateway.url(f"/chat/sessions/{session}/turns/{body['data']['turnId']}/events")
    async with gateway.client.get(url, headers={"Last-Event-ID": last}) as response:
        assert response.status == 400
        assert (await response.json())["code"] == "invalid_request"


async def test_expired_log_is_told_afresh(gateway: Stage) -> None:
    session = await gateway.session()
    _, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    turn_id = body["data"]["turnId"]
    await gateway.answer(turn_id, "Hello ", "you.")
    await gateway.dependencies.logs.erase("ws_one", turn_id)
    url = gateway.url(f"/chat/sessions/{session}/turns/{turn_id}/events")
    async with gateway.client.get(url, headers={"Last-Event-ID": "1-2"}) as response:
        told = await frames(response)
    assert [(frame.id, frame.event) for frame in told] == [(None, "restarted"), (None, "delta"), ("1-4", "done")]
    assert told[1].data == {"text": "Hello you."}


async def test_a_turn_is_reached_only_through_its_own_session_and_workspace(gateway: Stage) -> None:
    session, other = await gateway.session(), await gateway.session()
    _, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    turn_id = body["data"]["turnId"]
    foreign = {"Authorization": f"Bearer {gateway.history.key(*ALL, workspace='ws_two')}"}
    for suffix in ("", "/events"):
        bodies = []
        for path, headers in (
            (f"/chat/sessions/{other}/turns/{turn_id}", {}),
            (f"/chat/sessions/{session}/turns/{turn_id}", foreign),
            (f"/chat/sessions/{session}/turns/trn_{'0' * 26}", {}),
            (f"/chat/sessions/{session}/turns/nonsense", {}),
        ):
            async with gateway.client.get(gateway.url(path + suffix), headers=headers) as response:
                assert response.status == 404
                bodies.append({name: value for name, value in (await response.json()).items() if name != "instance"})
        assert all(found == bodies[0] for found in bodies)


async def test_cancel_asks_history_and_is_idempotent(gateway: Stage) -> None:
    session = await gateway.session()
    _, body = await _post(gateway, session, {"content": "hi"}, {"Prefer": "respond-async"})
    turn_id = body["data"]["turnId"]
    url = gateway.url(f"/chat/sessions/{session}/turns/{turn_id}/cancel")
    async with gateway.client.post(url) as response:
        assert response.status == 200
    assert gateway.history.cancelled == [turn_id]
    await gateway.history.finish(turn_id, 1, [said("partly")], status="cancelled", finish_reason="cancelled")
    async with gateway.client.post(url, json={}) as response:
        assert (await response.json())["data"]["status"] == "cancelled"
    assert gateway.history.cancelled == [turn_id]


async def test_a_client_that_leaves_cancels_nothing(gateway: Stage) -> None:
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": "hi", "stream": True}) as response:
        assert frame_of(await next_block(response)).event == "queued"
        response.close()
    turn_id = await gateway.admitted()
    await gateway.answer(turn_id, "Still here.")
    await eventually(lambda: gateway.dependencies.limits.held == 0, what="the stream's end")
    assert gateway.history.cancelled == []


async def test_without_redis_a_message_is_refused_within_a_second_and_nothing_is_stored(redis_url: str) -> None:
    async with stage("redis://127.0.0.1:1/0") as gateway:
        session = await gateway.session()
        started = time.monotonic()
        status, body = await _post(gateway, session, {"content": "hi"})
        assert time.monotonic() - started < 1.0 * PATIENCE
        assert (status, body["code"]) == (503, "dependency_unavailable")
        assert gateway.history.turns == {}


async def test_without_the_queue_alone_nothing_is_stored_either(redis_url: str) -> None:
    async with stage("redis://127.0.0.1:1/0", stream_redis_urls=redis_url) as gateway:
        session = await gateway.session()
        status, body = await _post(gateway, session, {"content": "hi"})
        assert (status, body["code"]) == (503, "dependency_unavailable")
        assert gateway.history.turns == {}


async def test_a_queue_that_falls_silent_once_the_turn_is_accepted_holds_up_its_stream_for_moments(
    gateway: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("services.gateway.streaming.admission.QUEUE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("services.gateway.streaming.admission.POSITION_TIMEOUT_S", 0.1)
    monkeypatch.setattr(gateway.dependencies.queue, "enqueue", never)
    monkeypatch.setattr(gateway.dependencies.queue, "position", never)
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with asyncio.timeout(30), gateway.client.post(url, json={"content": "hi", "stream": True}) as response:
        queued = frame_of(await next_block(response))
    assert (queued.event, queued.data["position"]) == ("queued", 0)


async def test_draining_ends_streams_without_a_terminal_frame(gateway: Stage) -> None:
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": "hi", "stream": True}) as response:
        turn_id = await gateway.admitted()
        writer = gateway.turn_writer(turn_id)
        writer.delta("half")
        await writer.flush()
        assert frame_of(await next_block(response)).event == "queued"
        assert frame_of(await next_block(response)).event == "delta"
        gateway.dependencies.drain()
        assert await frames(response) == []
    async with gateway.client.get(gateway.url(f"/chat/sessions/{session}")) as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
        assert (await response.json())["code"] == "draining"
    async with gateway.client.get(gateway.base + "/readyz") as response:
        assert (response.status, (await response.json())["failing"]) == (503, ["serving"])


async def test_draining_tells_a_waiting_post_which_turn_to_ask_for(gateway: Stage) -> None:
    session = await gateway.session()
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}))
    turn_id = await gateway.admitted()
    gateway.dependencies.drain()
    status, body = await post
    assert (status, body["code"], body["turnId"]) == (503, "draining", turn_id)


async def test_streams_beyond_a_keys_share_are_refused_before_anything_is_stored(redis_url: str) -> None:
    async with stage(redis_url, streams_per_key=1) as gateway:
        one, two = await gateway.session(), await gateway.session()
        async with gateway.client.post(
            gateway.url(f"/chat/sessions/{one}/messages"), json={"content": "hi", "stream": True}
        ) as response:
            assert response.status == 200
            status, body = await _post(gateway, two, {"content": "hi"})
            assert (status, body["code"]) == (429, "rate_limited")
            await gateway.answer(await gateway.admitted(), "Done.")
            await frames(response)
        assert len(gateway.history.turns) == 1
        await eventually(lambda: gateway.dependencies.limits.held == 0)


async def test_a_later_attempt_restarts_the_stream(gateway: Stage) -> None:
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": "hi", "stream": True}) as response:
        turn_id = await gateway.admitted()
        first, second = gateway.turn_writer(turn_id), gateway.turn_writer(turn_id, 2)
        first.delta("lost")
        await first.flush()
        second.frame("restarted", {"attempt": 2, "reason": "worker_lost"})
        second.delta("kept")
        await second.flush()
        await gateway.history.finish(turn_id, 3, [said("kept")], attempt=2)
        told = await frames(response)
    assert [frame.event for frame in told] == ["queued", "delta", "restarted", "delta", "done"]
    assert await gateway.dependencies.logs.tail("ws_one", turn_id) == FrameId(2, 3)


async def _post(
    gateway: Stage, session: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    async with gateway.client.post(
        gateway.url(f"/chat/sessions/{session}/messages"), json=body, headers=headers
    ) as response:
        assert isinstance(response, aiohttp.ClientResponse)
        answer: dict[str, Any] = await response.json(content_type=None)
        answer.pop("instance", None)
        return response.status, answer


async def test_a_client_of_http_1_0_gets_the_frames_without_a_transfer_coding(gateway: Stage) -> None:
    session = await gateway.session()
    base = gateway.base.removeprefix("http://")
    host, _, port = base.partition(":")
    body = b'{"content": "hi", "stream": true}'
    head = f"POST /api/v1/chat/sessions/{session}/messages HTTP/1.0\r\nAuthorization: Bearer {gateway.key}\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    turn_id = await gateway.admitted()
    await gateway.answer(turn_id, "On ", "its ", "way.")
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    _, _, events = answer.partition(b"\r\n\r\n")
    names = [line[7:] for line in events.split(b"\n") if line.startswith(b"event: ")]
    assert names == [b"queued", b"started", b"delta", b"delta", b"delta", b"done"]
    assert b"\r\n" not in events


async def test_a_turns_job_names_the_callers_key_and_its_weight(gateway: Stage) -> None:
    secret = gateway.history.key(*ALL, weight=3)
    key_id = gateway.history.principals[digest_of(secret)].key_id
    session = await gateway.session()
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}, {"Authorization": f"Bearer {secret}"}))
    turn_id = await gateway.admitted()
    await eventually(lambda: _waits_first(gateway, turn_id))
    job = decode_job(await gateway.dependencies.queue.get(f"arq:job:{turn_id}") or b"")
    assert (job.flow, job.weight) == (key_id, 3)
    await gateway.answer(turn_id, "Hello.")
    assert (await post)[0] == 200


async def test_a_history_whose_clock_is_an_hour_behind_makes_no_waiting_turn_look_old(
    gateway: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await gateway.session()
    monkeypatch.setattr(fakes, "now", lambda: datetime.now(UTC) - timedelta(hours=1))
    post = asyncio.create_task(_post(gateway, session, {"content": "hi"}))
    turn_id = await gateway.admitted()
    await eventually(lambda: _waits_first(gateway, turn_id))
    waiting, oldest_s = await gateway.dependencies.queue.backlog()
    assert waiting == 1
    assert oldest_s < 300
    await gateway.answer(turn_id, "Hello.")
    assert (await post)[0] == 200


async def test_a_flood_of_waiting_turns_leaves_nothing_in_the_gateway(gateway: Stage) -> None:
    """Its memory is bounded by what is open, whatever waits in the queue."""
    # A connection that the client keeps for its next request has a task in the gateway for fifteen seconds more.
    once = {"Prefer": "respond-async", "Connection": "close"}
    await _post(gateway, await gateway.session(), {"content": "hi"}, {"Prefer": "respond-async"})
    tasks, listeners = len(asyncio.all_tasks()), REGISTRY.get_sample_value("parley_open_listeners")
    for _ in range(10):
        sessions = [await gateway.session() for _ in range(20)]
        posts = (_post(gateway, session, {"content": "hi"}, once) for session in sessions)
        assert {status for status, _ in await asyncio.gather(*posts)} == {202}
    assert await gateway.dependencies.queue.zcard(QUEUE) == 201
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    assert REGISTRY.get_sample_value("parley_open_listeners") == listeners
