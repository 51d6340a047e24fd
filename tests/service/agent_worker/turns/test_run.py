"""Turns from the queue to the outbox: the real leased worker, runner, log and Redis, and a fake history."""

from deploy.demo.scripted import scripted_answer
from shared.contracts.agents import Passage
from shared.ids import is_id
from tests.conftest import eventually
from tests.service.agent_worker.stage import Stage, is_started


async def test_a_turn_streams_its_answer_and_ends_in_the_outbox(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(), "What is there?")
        ended = await stage.ended(job)
    answer = scripted_answer("What is there?", 8)
    assert ended.events == ["started", "delta"]
    assert ended.data("started") == [
        {"turnId": job.turn_id, "agentId": "agt_1", "agentVersion": 1, "attempt": 1, "waitMs": 5}
    ]
    assert ended.text == answer
    turn = ended.turn
    assert (turn.status, turn.finish_reason, turn.attempt, turn.error) == ("completed", "stop", 1, None)
    assert [(message.role, message.content, message.status) for message in turn.output] == [
        ("assistant", answer, "complete")
    ]
    assert is_id("msg", turn.output[0].id)
    assert turn.usage is not None
    assert turn.usage.completion_tokens == 8
    assert turn.usage.estimated is None
    assert turn.timing is not None
    assert turn.timing.queued_ms == 5 <= (turn.timing.first_token_ms or 0) <= turn.timing.total_ms


async def test_many_turns_at_once_each_get_their_own_answer(stage: Stage) -> None:
    async with stage.worker():
        jobs = [
            await stage.post(stage.agent("scripted/tokens=30,delay=2,text=echo"), f"question {number}")
            for number in range(40)
        ]
        for number, job in enumerate(jobs):
            ended = await stage.ended(job)
            assert ended.text == ended.turn.output[0].content == scripted_answer(f"question {number}", 30)


async def test_an_agents_version_is_asked_for_once_and_a_draft_each_time(stage: Stage) -> None:
    async with stage.worker():
        for number in (1, 1, 0, 0):
            await stage.ended(await stage.post(stage.agent(), number=number))
    assert [claim.knows_agent for claim in stage.history.claims_seen] == [False, True, False, False]


async def test_a_turn_with_nothing_to_do_is_dropped(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(), terminal=True)

        async def is_gone() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id]

        await eventually(is_gone)
    assert await stage.frames(job) == []


async def test_a_turn_that_history_does_not_know_is_dropped(stage: Stage) -> None:
    job = await stage.post(stage.agent())
    del stage.history.turns[job.turn_id]
    async with stage.worker():

        async def is_gone() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id]

        await eventually(is_gone)


async def test_a_turn_waits_for_history_to_come_back(stage: Stage) -> None:
    stage.history.away = True
    async with stage.worker():
        job = await stage.post(stage.agent())

        async def is_requeued() -> bool:
            return await stage.queue.position(job.turn_id) is not None

        await eventually(is_requeued)
        stage.history.away = False
        ended = await stage.ended(job)
    assert ended.turn.status == "completed"


async def test_an_agent_waits_for_its_knowledge_rather_than_answer_without(stage: Stage) -> None:
    stage.history.shelf = [Passage(source_id="src_1", title="Delivery", text="We deliver to 80202.")]
    calls = 0
    plain = stage.history.passages

    async def passages(workspace: str, agent_id: str, number: int) -> list[Passage]:
        nonlocal calls
        await eventually(lambda: is_started(stage))  # What is away here is away for knowledge only.
        calls += 1
        stage.history.away = calls < 3
        return await plain(workspace, agent_id, number)

    stage.history.passages = passages  # type: ignore[method-assign]
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?"))
    assert calls == 3
    assert ended.data("kb_retrieval")[0]["passages"]
