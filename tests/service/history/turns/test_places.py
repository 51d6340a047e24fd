"""Turns of a key and of an end user that are active at once: limited at admission, and returned whatever dies."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest

from services.history.turns import places
from services.history.turns.places import Places
from shared.broker import batches
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import EndUser
from shared.contracts.turns import CompletionRequest, TurnLimits
from shared.ids import new_id
from tests.conftest import PATIENCE, eventually
from tests.service.history.running import WORKSPACE, History, completion, finished, order

KEY = "key_1"
MANY = 1000


@pytest.fixture(autouse=True)
def _a_slow_host_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ANSWER_S", batches.ANSWER_S * PATIENCE * 4)
    monkeypatch.setattr(places, "RETURN_S", batches.ANSWER_S * PATIENCE * 4)
    monkeypatch.setattr(places, "CLEAN_EVERY_S", 0.01)


async def admit(history: History, *, key: int | None = None, end_user: int | None = None, **members: Any) -> str:
    """A new session's turn; its id."""
    limits = TurnLimits(key=key, end_user=end_user)
    wanted = order(await history.session(), key_id=KEY, limits=limits, **members)
    return (await history.client.admit(WORKSPACE, wanted)).turn.id


async def refused(history: History, **limits: int) -> bool:
    """Any other error is raised."""
    answer = (await asyncio.gather(admit(history, **limits), return_exceptions=True))[0]
    if isinstance(answer, ApiError) and answer.code is Code.RATE_LIMITED:
        return True
    if isinstance(answer, BaseException):
        raise answer
    return False


async def held(history: History, name: str = f"parley:places:key:{KEY}") -> int:
    return int(await history.queue.zcard(name))


async def end(history: History, turn_id: str) -> None:
    lease = await history.claim(turn_id)
    assert await lease.job.finish(finished(turn_id, lease.claimed.attempt))


async def test_a_key_may_have_so_many_turns_at_once_and_gets_its_place_back_before_the_end_is_told(
    history: History,
) -> None:
    await history.publish()
    first, _ = await admit(history, key=2), await admit(history, key=2)
    assert await refused(history, key=2)
    await end(history, first)
    await history.wait_for_end(first)
    assert await held(history) == 1
    assert not await refused(history, key=2)


async def test_a_repeat_of_an_admitted_turn_is_answered_at_the_limit(history: History) -> None:
    await history.publish()
    limits = TurnLimits(key=1)
    wanted = order(await history.session(), key_id=KEY, limits=limits, idempotency_key="k")
    first = await history.client.admit(WORKSPACE, wanted)
    again = await history.client.admit(WORKSPACE, wanted.model_copy(update={"turn_id": new_id("trn")}))
    assert (again.created, again.turn.id) == (False, first.turn.id)
    assert await held(history) == 1


async def test_what_is_not_admitted_holds_no_place(history: History) -> None:
    await history.publish()
    limits = TurnLimits(key=5)
    session_id = await history.session()
    await history.client.admit(WORKSPACE, order(session_id, key_id=KEY, limits=limits))
    for session in (session_id, new_id("ses")):
        with pytest.raises(ApiError):
            await history.client.admit(WORKSPACE, order(session, "again", key_id=KEY, limits=limits))
    assert await held(history) == 1


async def test_a_cancelled_waiting_turn_returns_its_place(history: History) -> None:
    await history.publish()
    turn_id = await admit(history, key=1)
    await history.client.cancel(WORKSPACE, turn_id)
    await history.wait_for_end(turn_id)
    assert await held(history) == 0


async def test_an_end_users_turns_are_limited_over_sessions_and_completions(history: History) -> None:
    await history.publish()
    limits, someone = TurnLimits(end_user=1), EndUser(id="someone")

    def asked(user: EndUser | None) -> Any:
        wanted = completion().model_copy(
            update={"limits": limits, "completion": CompletionRequest(end_user=user), "turn_id": new_id("trn")}
        )
        return history.client.admit(WORKSPACE, wanted)

    session = await history.client.create_session(WORKSPACE, new_id("ses"), "agt_demo", {}, False, someone)
    await history.client.admit(WORKSPACE, order(session.id, limits=limits))
    with pytest.raises(ApiError) as raised:
        await asked(someone)
    assert raised.value.code is Code.RATE_LIMITED
    assert "end user" in raised.value.detail
    await asked(EndUser(id="another"))
    for _ in range(2):
        await asked(None)


async def test_a_thousand_places_are_returned_though_their_return_was_lost(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History is killed after it has stored an end, and before it has returned the place."""
    await history.publish()
    ids = await asyncio.gather(*(_completed(history) for _ in range(10)))
    # The others' documents would take minutes: these turns were admitted, and nothing is left of them.
    script = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], ARGV[2], 'trn_' .. i) end"
    lapse_ms = (await history.queue.time())[0] * 1000 + 60_000
    name = f"parley:places:key:{KEY}"
    await history.queue.execute_command("EVAL", script, 1, name, MANY - len(ids), lapse_ms)
    await history.queue.zadd(name, dict.fromkeys(ids, lapse_ms))
    assert await held(history) == MANY
    assert not await refused(history, key=MANY)
    assert await held(history) == 1


async def _completed(history: History) -> str:
    turn_id = await admit(history)
    await end(history, turn_id)
    await history.wait_for_end(turn_id)
    return turn_id


async def test_cleaning_spares_turns_that_are_active_and_those_that_are_being_admitted(history: History) -> None:
    await history.publish()
    active = await admit(history, key=2)
    name = f"parley:places:key:{KEY}"
    score = await history.queue.zscore(name, active)
    assert score is not None
    await history.queue.zadd(name, {active: score - 60_000, "trn_being_admitted": score})
    for _ in range(2):
        assert await refused(history, key=2)
    assert await held(history) == 2


async def test_a_place_lapses(history: History) -> None:
    await history.publish()
    turn_id = await admit(history, key=1)
    await history.queue.zadd(f"parley:places:key:{KEY}", {turn_id: 1})
    assert not await refused(history, key=1)


async def test_without_redis_turns_are_admitted_unlimited(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    await history.publish()
    monkeypatch.setattr(Places, "_try", AsyncMock(side_effect=ConnectionError))
    for _ in range(3):
        assert not await refused(history, key=1)


async def test_a_turn_that_is_not_counted_in_time_is_refused_and_holds_no_place(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history that is too busy to count must not let all turns in."""
    await history.publish()
    connections = history.dependencies.queue.connections
    call = connections.call

    async def late(*command: Any) -> Any:
        answer = await call(*command)
        if f"parley:places:key:{KEY}" in command and command[0] in ("EVAL", "EVALSHA"):
            await asyncio.Event().wait()
        return answer

    with monkeypatch.context() as busy:
        busy.setattr(connections, "call", late)
        busy.setattr(places, "ANSWER_S", 0.1)
        with pytest.raises(ApiError) as raised:
            await admit(history, key=1)
    assert raised.value.code is Code.OVERLOADED
    assert await history.count() == 0
    assert await held(history) == 0
    assert not await refused(history, key=1)


async def test_of_many_at_once_no_more_than_the_limit_is_admitted(history: History) -> None:
    await history.publish()
    answers = await asyncio.gather(*(admit(history, key=5) for _ in range(25)), return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, str)]
    assert len(taken) == 5
    assert all(isinstance(answer, ApiError) for answer in answers if not isinstance(answer, str))
    await asyncio.gather(*(end(history, turn_id) for turn_id in taken))

    async def all_returned() -> bool:
        return await held(history) == 0

    await eventually(all_returned, what="the return of every place")


async def test_a_turn_without_limits_is_counted_nowhere(history: History) -> None:
    await history.publish()
    turn_id = await admit(history)
    assert "places" not in await history.document(turn_id)
    assert not await history.queue.keys("parley:places:*")
