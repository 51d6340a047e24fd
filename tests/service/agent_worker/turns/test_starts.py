"""What an attempt does before history has recorded it, and what becomes of it if history does not."""

import asyncio
from datetime import UTC, datetime

import aiohttp

from deploy.demo.scripted import scripted_answer
from services.agent_worker.turns.conversation import NO_ANSWER
from services.agent_worker.turns.run import START_CALLS
from services.agent_worker.turns.start_places import MOST
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StartAttempt, StartedAttempt
from shared.ids import new_id
from shared.turn_queue.keys import QUEUE
from tests.conftest import eventually
from tests.service.agent_worker.stage import Stage, is_started, model_stats


async def test_the_model_is_asked_while_history_records_the_attempt_and_nothing_is_published(stage: Stage) -> None:
    stage.history.undecided = asyncio.Event()
    async with stage.worker():
        job = await stage.post(stage.agent())

        async def is_asked() -> bool:
            return (await model_stats(stage))["requests"] == 1

        await eventually(is_asked)
        assert (await stage.frames(job), await is_started(stage)) == ([], False)
        stage.history.undecided.set()
        ended = await stage.ended(job)
    assert ended.events == ["started", "delta"]
    assert ended.text == ended.turn.output[0].content == scripted_answer("Hello?", 8)


async def test_what_is_known_before_the_attempt_started_is_published_after_it(stage: Stage) -> None:
    stage.history.shelf = [Passage(source_id="src_1", title="Delivery", text="We deliver to 80202.")]
    stage.history.undecided, looked_up = asyncio.Event(), asyncio.Event()
    plain = stage.history.passages

    async def passages(workspace: str, agent_id: str, number: int) -> list[Passage]:
        looked_up.set()
        return await plain(workspace, agent_id, number)

    stage.history.passages = passages  # type: ignore[method-assign]
    async with stage.worker():
        job = await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?")
        await eventually(looked_up.is_set)
        # A second turn is through with its passages, which are in memory by now.
        other = await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?")
        await eventually(lambda: len(stage.history.claims_seen) == 2)
        assert (await stage.frames(job), await stage.frames(other)) == ([], [])
        stage.history.undecided.set()
        for one in (job, other):
            assert (await stage.ended(one)).events == ["started", "kb_retrieval", "delta"]


async def test_an_attempt_that_is_refused_leaves_no_trace_and_stops_the_model(stage: Stage) -> None:
    stage.history.undecided, stage.history.refuses = asyncio.Event(), True
    async with stage.worker():
        job = await stage.post(stage.agent("scripted/tokens=2000,delay=20,text=echo"))

        async def asked_and_running() -> list[int]:
            stats = await model_stats(stage)
            return [stats["requests"], stats["active"]]

        async def is_asked() -> bool:
            return await asked_and_running() == [1, 1]

        await eventually(is_asked)
        refused = len(stage.history.claims_seen)
        stage.history.turns[job.turn_id].terminal = True  # As when it was cancelled meanwhile.
        stage.history.undecided.set()

        async def is_over() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id] and await asked_and_running() == [1, 0]

        await eventually(is_over, within_s=2.0)
    assert (refused, len(stage.history.claims_seen)) == (1, 2)
    assert (await stage.frames(job), await stage.outbox()) == ([], {})


async def test_a_snapshot_saves_the_claim_where_the_agent_is_known(stage: Stage) -> None:
    earlier = TurnMessage(id=new_id("msg"), role="user", content="I live in Wien.", created_at=datetime.now(UTC))
    async with stage.worker():
        unknown = await stage.ended(await stage.post(stage.agent(), "One?", with_snapshot=True))
        asked = len(stage.history.claims_seen)
        known = await stage.ended(await stage.post(stage.agent(), "Two?", with_snapshot=True, context=(earlier,)))
    assert asked == len(stage.history.claims_seen) == 1, "the first one asked for the agent"
    assert (unknown.turn.attempt, known.turn.attempt) == (1, 1)
    assert [begin.admitted_at is not None for begin in stage.history.starts_seen] == [False, True], (
        "only a snapshot says so"
    )
    async with aiohttp.ClientSession() as session, session.get(f"{stage.model_url}/requests") as response:
        sent = (await response.json())[-1]["messages"]
    assert [message["content"] for message in sent] == ["Be kind.", "I live in Wien.", NO_ANSWER, "Two?"]


async def test_an_outdated_snapshot_is_refused_and_history_is_asked(stage: Stage) -> None:
    async with stage.worker():
        await stage.ended(await stage.post(stage.agent()))
        asked = len(stage.history.claims_seen)
        # As when the gateway's order comes late: the reconciler has led to an attempt already, whose worker died.
        ended = await stage.ended(await stage.post(stage.agent(), with_snapshot=True, attempt=1))
    assert len(stage.history.claims_seen) == asked + 1
    assert (ended.turn.attempt, ended.events) == (2, ["restarted", "started", "delta"])


async def test_a_history_that_is_lost_before_the_attempt_started_costs_only_time(stage: Stage) -> None:
    plain, failed = stage.history.start_attempt, 0

    async def start_attempt(workspace: str, turn_id: str, begin: StartAttempt) -> StartedAttempt:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        return await plain(workspace, turn_id, begin)

    stage.history.start_attempt = start_attempt  # type: ignore[method-assign]
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent()))
    assert (failed, ended.turn.attempt, ended.events) == (2, 1, ["started", "delta"])


def answers_late(stage: Stage, times: int) -> None:
    """History stores the start of an attempt, and its answer comes when nobody waits for it any more."""
    plain, late = stage.history.start_attempt, 0

    async def start_attempt(workspace: str, turn_id: str, begin: StartAttempt) -> StartedAttempt:
        nonlocal late
        started = await plain(workspace, turn_id, begin)
        late += 1
        if late <= times:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        return started

    stage.history.start_attempt = start_attempt  # type: ignore[method-assign]


async def test_a_start_whose_answer_is_late_costs_no_attempt_and_no_second_model_call(stage: Stage) -> None:
    answers_late(stage, 2)
    async with stage.worker():
        job = await stage.post(stage.agent())
        ended = await stage.ended(job)
    assert (ended.turn.attempt, ended.events) == (1, ["started", "delta"])
    assert (stage.history.turns[job.turn_id].tries, len(stage.history.claims_seen)) == (1, 1)
    assert (await model_stats(stage))["requests"] == 1


async def test_a_turn_does_not_run_out_of_tries_because_history_is_slow(stage: Stage) -> None:
    answers_late(stage, START_CALLS)
    async with stage.worker():
        job = await stage.post(stage.agent())
        ended = await stage.ended(job)
    assert (ended.turn.attempt, stage.history.released) == (2, [1])
    assert stage.history.turns[job.turn_id].tries == 1, "of the attempt that ran"


async def test_so_many_turns_claim_and_start_at_once_and_the_others_wait(stage: Stage) -> None:
    stage.history.undecided = asyncio.Event()
    async with stage.worker():
        jobs = [await stage.post(stage.agent()) for _ in range(MOST + 8)]
        await eventually(lambda: len(stage.history.starts_seen) == MOST)

        async def all_are_taken() -> bool:
            return len(await stage.queue.missing([job.turn_id for job in jobs])) == 0 and not await waiting(stage)

        await eventually(all_are_taken)
        assert len(stage.history.claims_seen) == len(stage.history.starts_seen) == MOST
        stage.history.undecided.set()
        for job in jobs:
            assert (await stage.ended(job)).turn.attempt == 1


async def waiting(stage: Stage) -> int:
    return int(await stage.queue.zcard(QUEUE))
