"""How turns are accepted: once, one at a time, and never into a session that has ended."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn, ClaimedTurn
from shared.ids import new_id
from tests.service.history.running import WORKSPACE, History, completion, finished, order


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value


async def test_an_admitted_turn_is_stored_with_its_message(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    wanted = order(session_id, "Hello?")
    admitted = await history.client.admit(WORKSPACE, wanted)
    assert (admitted.created, admitted.turn.status, admitted.user_message_id) == (True, "queued", wanted.messages[0].id)
    stored = await history.client.turn(WORKSPACE, admitted.turn.id)
    assert (stored.turn, stored.input) == (admitted.turn, wanted.messages)


async def test_a_turn_knows_the_key_that_asked_for_it(history: History) -> None:
    await history.publish()
    wanted = order(await history.session()).model_copy(update={"key_id": "key_1"})
    await history.client.admit(WORKSPACE, wanted)
    assert await history.count(keyId="key_1", _id=wanted.turn_id) == 1


async def test_of_a_hundred_posts_with_one_key_there_is_one_turn(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    answers = await asyncio.gather(*(history.admit(session_id, idempotency_key="k") for _ in range(100)))
    assert len({answer.turn.id for answer in answers}) == 1
    assert Counter(answer.created for answer in answers) == {True: 1, False: 99}
    assert await history.count(sessionId=session_id) == 1


async def test_of_a_hundred_posts_without_a_key_one_is_taken(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    answers = await asyncio.gather(*(history.admit(session_id) for _ in range(100)), return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, AdmittedTurn)]
    others = [answer for answer in answers if isinstance(answer, ApiError)]
    assert len(taken) == 1
    assert len(others) == 99
    assert {(error.code, error.members["activeTurnId"]) for error in others} == {
        (Code.TURN_IN_PROGRESS, taken[0].turn.id)
    }
    assert await history.count(sessionId=session_id) == 1


async def test_the_same_turn_id_again_is_the_same_success(history: History) -> None:
    await history.publish()
    wanted = order(await history.session())
    first, again = [await history.client.admit(WORKSPACE, wanted) for _ in range(2)]
    assert first == again
    assert again.created


@pytest.mark.parametrize("of_session", [True, False])
async def test_a_turn_keeps_the_wish_for_its_reasoning(history: History, of_session: bool) -> None:
    await history.publish()
    wanted = order(await history.session(), "one") if of_session else completion("one")
    admitted = await history.client.admit(WORKSPACE, wanted.model_copy(update={"reasoning": True}))
    assert admitted.turn.reasoning
    assert admitted.snapshot is not None
    assert ClaimedTurn.model_validate_json(admitted.snapshot).reasoning
    assert (await history.claim(admitted.turn.id)).claimed.reasoning


@pytest.mark.parametrize("of_session", [True, False])
async def test_an_admission_brings_what_the_first_claim_would_be_told(history: History, of_session: bool) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id, "one", "two")
    wanted = order(session_id, "three") if of_session else completion("three")
    admitted = await history.client.admit(WORKSPACE, wanted)
    assert admitted.snapshot is not None
    snapshot = ClaimedTurn.model_validate_json(admitted.snapshot)
    claimed = (await history.claim(admitted.turn.id)).claimed
    assert snapshot == claimed.model_copy(update={"agent": None, "admitted_at": admitted.turn.created_at})
    assert [message.content for message in snapshot.context] == (["one", "two"] if of_session else [])


async def test_what_an_admission_waited_for_mongodb_is_told_apart(history: History) -> None:
    async def seconds(name: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(f"{history.base_url}/metrics") as response:
            lines = (await response.text()).splitlines()
        start = f'parley_history_{name}_seconds_sum{{route="/workspaces/{{workspace}}/turns"}} '
        return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))

    await history.publish()
    session_id = await history.session()
    before = [await seconds("request"), await seconds("mongodb")]
    await history.admit(session_id)
    request, mongodb = await seconds("request") - before[0], await seconds("mongodb") - before[1]
    assert 0 < mongodb < request


async def test_a_turn_that_says_too_much_has_no_brief(history: History) -> None:
    """It would wait in Redis. The same once the session's earlier turns are too long."""
    await history.publish()
    session_id = await history.session()
    assert (await history.admit(await history.session(), "x" * 15_000)).snapshot is not None
    assert (await history.admit(await history.session(), "x" * 17_000)).snapshot is None
    await history.answer(session_id, "one", "x" * 17_000)
    assert (await history.admit(session_id, "two")).snapshot is None


async def test_a_repeated_call_brings_the_brief_again_and_an_earlier_turn_has_none(history: History) -> None:
    await history.publish()
    wanted = order(await history.session())
    first = await history.client.admit(WORKSPACE, wanted)
    assert await history.client.admit(WORKSPACE, wanted) == first, "the first answer was lost"
    keyed = order(await history.session(), idempotency_key="k")
    assert (await history.client.admit(WORKSPACE, keyed)).snapshot is not None
    assert (await history.client.admit(WORKSPACE, keyed.model_copy(update={"turn_id": new_id("trn")}))).snapshot is None


async def test_a_key_with_another_body_is_refused(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.admit(session_id, "one", idempotency_key="k")
    assert (await refused(history.admit(session_id, "two", idempotency_key="k"))).code is Code.IDEMPOTENCY_MISMATCH
    assert (await history.admit(await history.session(), "two", idempotency_key="k")).created


async def test_a_repeated_key_is_answered_with_the_output_even_when_the_session_has_ended(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, idempotency_key="k")).turn
    lease = await history.claim(turn.id)
    await lease.job.finish(finished(turn.id, 1, "The answer."))
    await history.wait_for_end(turn.id)
    await history.client.end_session(WORKSPACE, session_id)
    again = await history.admit(session_id, idempotency_key="k")
    assert (again.created, again.turn.status, [message.content for message in again.output]) == (
        False,
        "completed",
        ["The answer."],
    )


@pytest.mark.parametrize(("retryable", "created"), [(True, True), (False, False)])
async def test_only_a_retryable_failure_releases_its_key(history: History, retryable: bool, created: bool) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, idempotency_key="k")).turn
    lease = await history.claim(turn.id)
    problem = ApiError(Code.UPSTREAM_ERROR, retryable=retryable).problem()
    await lease.job.finish(finished(turn.id, 1, status="failed", error=problem, finish_reason=None, output=()))
    await history.wait_for_end(turn.id)
    assert (await history.admit(session_id, idempotency_key="k")).created is created


async def test_a_number_that_is_taken_is_computed_anew(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    for _ in range(2):
        await history.answer(session_id)
    # As if the process had died between storing the turns' ends and counting them.
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"turnCount": 0}})
    turn = (await history.admit(session_id)).turn
    assert (await history.document(turn.id))["n"] == 3
    assert (await history.client.session(WORKSPACE, session_id)).turn_count == 3


async def test_a_turn_counts_from_its_admission_on(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    turn = (await history.admit(session_id)).turn
    assert (await history.documents.sessions.find_one({"_id": session_id}))["turnCount"] == 1
    session = await history.client.session(WORKSPACE, session_id)
    assert (session.turn_count, session.last_message_at) == (2, turn.created_at)
    assert (await history.client.sessions(WORKSPACE, {}))["items"] == [session.wire()]
    assert [item["turnId"] for item in (await history.client.messages(WORKSPACE, session_id, {}))["items"]][
        -1
    ] == turn.id


async def test_a_turn_that_history_ends_is_counted(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    assert (await history.client.cancel(WORKSPACE, turn.id)).status == "cancelled"
    assert (await history.documents.sessions.find_one({"_id": session_id}))["turnCount"] == 1


async def test_a_foreign_or_unknown_session_takes_no_turn(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    assert (await refused(history.client.admit("other", order(session_id)))).code is Code.SESSION_NOT_FOUND
    assert (await refused(history.admit(new_id("ses")))).code is Code.SESSION_NOT_FOUND
    assert await history.count() == 0


async def test_a_completion_needs_a_published_agent(history: History) -> None:
    await history.publish("agt_other")
    error = await refused(history.client.admit(WORKSPACE, completion()))
    assert (error.code, error.param) == (Code.MODEL_NOT_FOUND, "model")
    await history.publish()
    admitted = await history.client.admit(WORKSPACE, completion())
    assert (admitted.turn.session_id, admitted.turn.agent_version) == (None, 1)


async def test_completions_of_one_agent_do_not_exclude_each_other(history: History) -> None:
    await history.publish()
    answers = await asyncio.gather(*(history.client.admit(WORKSPACE, completion()) for _ in range(10)))
    assert all(answer.created for answer in answers)


async def test_a_completions_request_survives(history: History) -> None:
    await history.publish()
    wanted = completion(metadata={"$a": "b.c"}, idempotency_key="k")
    turn = (await history.client.admit(WORKSPACE, wanted)).turn
    claimed = (await history.claim(turn.id)).claimed
    assert (claimed.completion, claimed.input, claimed.context, claimed.session_id) == (
        wanted.completion,
        wanted.messages,
        (),
        None,
    )
    assert not (await history.client.admit(WORKSPACE, completion(idempotency_key="k"))).created


@pytest.mark.filterwarnings("ignore:Sending a large body directly")
async def test_a_turn_that_is_too_large_is_refused_and_not_stored(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    assert (await refused(history.admit(session_id, "x" * 17_000_000))).code is Code.PAYLOAD_TOO_LARGE
    assert await history.count() == 0


async def test_bodies_of_the_wrong_shape_are_refused(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    wanted = order(session_id)
    for change in ({"messages": ()}, {"session_id": None}, {"agent_id": "agt_demo"}):
        assert (
            await refused(history.client.admit(WORKSPACE, wanted.model_copy(update=change)))
        ).code is Code.VALIDATION_FAILED
    assert (await refused(history.client.admit("no/such", wanted))).code is Code.NOT_FOUND
