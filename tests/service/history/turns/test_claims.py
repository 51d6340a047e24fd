"""What a worker gets when it claims a turn, and what it may do with it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from services.history.mongo.collection import Collection
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import ClaimTurn, StartAttempt, StartedAttempt, Turn
from shared.history_client import HistoryClient
from tests.service.history.running import (
    TOKEN,
    WORKSPACE,
    History,
    begin,
    config,
    finished,
    message,
    now,
    running,
    settings_for,
)


async def claim(history: History, turn_id: str, claim_id: str, *, knows_agent: bool = False) -> Any:
    return await history.client.claim(WORKSPACE, turn_id, ClaimTurn(claim_id=claim_id, knows_agent=knows_agent))


async def test_a_claim_brings_what_the_worker_needs(history: History) -> None:
    await history.publish(instructions="Be kind.")
    session_id = await history.session()
    await history.answer(session_id, "one", "two")
    turn = (await history.admit(session_id, "three")).turn
    lease = await history.claim(turn.id)
    claimed = lease.claimed
    assert claimed.agent is not None
    assert (claimed.run, claimed.attempt, claimed.session_id, claimed.agent.config.instructions) == (
        True,
        1,
        session_id,
        "Be kind.",
    )
    assert claimed.agent.passage_count == 1
    assert [message.content for message in claimed.context] == ["one", "two"]
    assert [message.content for message in claimed.input] == ["three"]
    assert 0 < lease.started.remaining_s <= 300
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "running"


async def test_the_agent_is_left_out_for_a_worker_that_knows_it(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    job = await history.lease(turn.id)
    assert (await claim(history, turn.id, job.claim_id, knows_agent=True)).agent is None


async def test_a_claim_only_reads_and_an_attempt_that_is_started_again_is_the_same(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    job = await history.lease(turn.id)
    assert (await claim(history, turn.id, job.claim_id)).attempt == 1
    assert ((await history.document(turn.id))["attempt"], (await history.document(turn.id))["status"]) == (0, "queued")
    assert all(await asyncio.gather(*(history.begin(turn.id, job.claim_id, 1) for _ in range(10))))
    document = await history.document(turn.id)
    assert (document["attempt"], document["tries"], document["status"]) == (1, 1, "running")
    assert (await claim(history, turn.id, job.claim_id)).attempt == 1


async def test_without_the_lease_no_attempt_begins(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    assert not await history.begin(turn.id, "stranger", 1)
    await history.lease(turn.id, "holder")
    assert not await history.begin(turn.id, "stranger", 1)
    await history.lapse(turn.id)
    assert not await history.begin(turn.id, "holder", 1)
    assert (await history.document(turn.id))["attempt"] == 0


async def test_an_attempt_begins_only_where_its_claim_left_the_turn(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    first = await history.lease(turn.id)
    read = await claim(history, turn.id, first.claim_id)
    assert (await history.claim(turn.id)).claimed.attempt == 1
    await history.lease(turn.id, first.claim_id)  # It has the lease back, but what it read is past.
    assert not await history.begin(turn.id, first.claim_id, read.attempt)
    assert (await history.document(turn.id))["tries"] == 1
    ended = await history.answer(await history.session())
    job = await history.lease(ended, "holder")
    assert not await history.begin(ended, job.claim_id, 2)
    assert not await begin(history.client, turn.id, first.claim_id, 2, workspace="other")


async def start_from_snapshot(history: History, turn: Turn, claim_id: str, attempt: int = 1) -> StartedAttempt:
    order = StartAttempt(claim_id=claim_id, session_id=turn.session_id, admitted_at=turn.created_at, attempt=attempt)
    return await history.client.start_attempt(WORKSPACE, turn.id, order)


async def test_a_turn_that_is_as_its_snapshot_says_is_started_by_one_write(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    job = await history.lease(turn.id)
    operations = list[str]()

    def recorded(name: str) -> Callable[..., Awaitable[Any]]:
        """Calls for the turn alone: the loops of history have their own."""
        plain = getattr(Collection, name)

        async def call(self: Collection, where: Any, *rest: Any, **more: Any) -> Any:
            if where.get("_id") == turn.id:
                operations.append(name)
            return await plain(self, where, *rest, **more)

        return call

    with monkeypatch.context() as patched:
        for name in ("update", "one"):
            patched.setattr(Collection, name, recorded(name))
        started = await start_from_snapshot(history, turn, job.claim_id)
    assert (started.started, started.cancel_requested, started.remaining_s, operations) == (
        True,
        False,
        300.0,
        ["update"],
    )
    assert 0 <= started.waited_ms <= (now() - turn.created_at).total_seconds() * 1000
    document = await history.document(turn.id)
    assert (document["attempt"], document["tries"], document["status"], document["claimId"]) == (
        1,
        1,
        "running",
        job.claim_id,
    )
    again = await start_from_snapshot(history, turn, job.claim_id)
    assert (again.started, (await history.document(turn.id))["tries"]) == (True, 1), "the first answer was lost"


async def test_a_turn_that_has_changed_since_its_brief_is_read(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    assert not (await start_from_snapshot(history, turn, "stranger")).started
    assert (await history.document(turn.id))["attempt"] == 0
    job = await history.lease(turn.id)
    await history.client.cancel(WORKSPACE, turn.id)
    started = await start_from_snapshot(history, turn, job.claim_id)
    assert (started.started, started.cancel_requested) == (True, True)
    second = await history.lease(turn.id)
    assert not (await start_from_snapshot(history, turn, second.claim_id)).started, "that attempt was made already"
    assert (await history.document(turn.id))["attempt"] == 1


@pytest.mark.parametrize("away", ["end_session", "delete_session"])
async def test_a_brief_outlives_no_session(history: History, away: str) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    job = await history.lease(turn.id)
    await getattr(history.client, away)(WORKSPACE, turn.session_id)
    started = await start_from_snapshot(history, turn, job.claim_id)
    assert not started.started or started.cancel_requested


async def test_a_verdict_takes_the_lease(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    for _ in range(3):
        await history.claim(turn.id)
    assert not (await claim(history, turn.id, "stranger")).run
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "running"


async def test_every_new_claim_raises_the_attempt(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    attempts = [(await history.claim(turn.id)).claimed.attempt for _ in range(3)]
    assert attempts == [1, 2, 3]


async def test_an_unknown_or_ended_turn_is_nothing_to_do(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = await history.answer(session_id)
    job = await history.lease(turn_id, "holder")
    assert not (await claim(history, turn_id, job.claim_id)).run
    assert not (await claim(history, "trn_unknown", "holder")).run
    foreign = await history.client.claim("other", turn_id, ClaimTurn(claim_id=job.claim_id))
    assert not foreign.run


async def test_a_turn_without_tries_left_fails_at_its_next_claim(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    for _ in range(3):
        assert (await history.claim(turn.id)).claimed.run
    await history.write(turn.id, 3, "as far ", "as it came")
    assert not (await history.claim(turn.id)).claimed.run
    stored = await history.client.turn(WORKSPACE, turn.id)
    assert stored.turn.error is not None
    assert (stored.turn.status, stored.turn.error["code"], stored.turn.attempt) == ("failed", "turn_failed", 4)
    assert [(message.content, message.status) for message in stored.output] == [("as far as it came", "partial")]
    frame_id, event, data = (await history.frames(turn.id))[-1]
    assert (str(frame_id), event, data["code"], data["turnId"]) == ("4-1", "error", "turn_failed", turn.id)
    assert (await history.admit(session_id)).created


async def test_a_released_try_is_given_back_once(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    for expected in range(1, 6):
        lease = await history.claim(turn.id)
        assert (lease.claimed.run, lease.claimed.attempt) == (True, expected)
        for _ in range(2):
            await history.client.release(WORKSPACE, turn.id, expected)
        await lease.job.requeue()
        assert (await history.document(turn.id))["tries"] == 0
    await history.client.release(WORKSPACE, turn.id, 1)
    assert (await history.document(turn.id))["tries"] == 0


async def test_a_call_is_recorded_only_for_the_attempt_that_owns_the_turn(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    assert await history.client.start_call(WORKSPACE, turn.id, 1, "call-1")
    assert await history.client.start_call(WORKSPACE, turn.id, 1, "call-1")
    second = await history.claim(turn.id)
    assert second.claimed.started_calls == ("call-1",)
    assert not await history.client.start_call(WORKSPACE, turn.id, 1, "call-2")
    assert not await history.client.start_call("other", turn.id, 2, "call-2")
    assert (await history.document(turn.id))["startedCalls"] == ["call-1"]


async def test_the_window_holds_whole_turns_and_no_failed_ones(history: History) -> None:
    limits = {"context_turns": 4, "context_tokens": 60}
    await history.client.put_agent(WORKSPACE, "agt_demo", config(limits=limits))
    await history.client.publish_agent(WORKSPACE, "agt_demo", [])
    session_id = await history.session()
    await history.answer(session_id, "q1", "a1")
    await history.answer(session_id, "q2", "a2")
    failed = (await history.admit(session_id, "q3")).turn
    lease = await history.claim(failed.id)
    problem = ApiError(Code.UPSTREAM_ERROR).problem()
    await lease.job.finish(
        finished(failed.id, 1, status="failed", error=problem, output=(message("half", "assistant"),))
    )
    await history.wait_for_end(failed.id)
    await history.answer(session_id, "q4", "a4")
    fifth = (await history.admit(session_id, "q5")).turn
    lease = await history.claim(fifth.id)
    assert [message.content for message in lease.claimed.context] == ["q1", "a1", "q2", "a2", "q4", "a4"]
    await lease.job.finish(finished(fifth.id, 1, "x" * 190))
    await history.wait_for_end(fifth.id)
    sixth = (await history.admit(session_id, "q6")).turn
    lease = await history.claim(sixth.id)
    assert [message.content for message in lease.claimed.context] == ["q5", "x" * 190]
    await lease.job.finish(finished(sixth.id, 1, "y" * 300))
    await history.wait_for_end(sixth.id)
    seventh = (await history.admit(session_id, "q7")).turn
    assert (await history.claim(seventh.id)).claimed.context == ()


async def test_a_turn_sees_everything_of_the_one_before(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    for number in range(10):
        turn = (await history.admit(session_id, f"q{number}")).turn
        lease = await history.claim(turn.id)
        expected = [text for n in range(number) for text in (f"q{n}", f"a{n}")]
        assert [message.content for message in lease.claimed.context] == expected
        await lease.job.finish(finished(turn.id, 1, f"a{number}"))
        await history.wait_for_end(turn.id)


async def test_a_turn_past_its_deadline_fails_at_its_next_claim(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    await history.documents.turns.update_one(
        {"_id": turn.id}, {"$set": {"firstClaimAt": now() - timedelta(seconds=301)}}
    )
    assert not (await history.claim(turn.id)).claimed.run
    stored = (await history.client.turn(WORKSPACE, turn.id)).turn
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("failed", "turn_timeout")


async def test_two_histories_never_give_out_one_attempt_twice(
    history: History, mongodb_uri: str, redis_url: str
) -> None:
    other_settings = settings_for(
        mongodb_uri, redis_url, mongodb_database=history.dependencies.settings.mongodb_database
    )
    async with running(other_settings) as other:
        both = [history.client, other.client]
        await history.publish()
        turn = (await history.admit(await history.session())).turn
        for _ in range(20):
            stale = await history.lease(turn.id)
            at = (await claim(history, turn.id, stale.claim_id)).attempt
            job = await history.lease(turn.id)
            claims = [job.claim_id, stale.claim_id]
            started = await asyncio.gather(
                *(begin(client, turn.id, claim_id, at) for client in both for claim_id in claims)
            )
            assert started == [True, False] * 2
            assert ((await history.document(turn.id))["attempt"], (await history.document(turn.id))["tries"]) == (at, 1)
            await history.documents.turns.update_one({"_id": turn.id}, {"$set": {"tries": 0}})


async def test_history_wants_its_token(history: History) -> None:
    async with HistoryClient([history.base_url], TOKEN + "x") as stranger:
        with pytest.raises(ApiError) as raised:
            await stranger.published_agents(WORKSPACE)
    assert raised.value.code is Code.INVALID_API_KEY
