"""Gaps of an agent's knowledge are stored with the turns that asked, once, and erased with them."""

from typing import Any

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.gaps import KnowledgeGaps
from shared.contracts.sessions import Citation, PassageName, Retrieval, RetrievedPassage
from shared.ids import id_at, time_of
from tests.service.history.running import WORKSPACE, History, completion, finished, message

NOTHING = Retrieval(query="gift cards")
SOMETHING = Retrieval(
    query="hours", passages=(RetrievedPassage(source_id="src_1", title="Hours", text="At nine.", score=1.0),)
)


async def gaps(history: History, agent_id: str = "agt_demo", **query: str) -> KnowledgeGaps:
    return await history.client.knowledge_gaps(WORKSPACE, agent_id, query)


async def end(history: History, turn_id: str, *searches: Retrieval, **members: Any) -> Any:
    lease = await history.claim(turn_id)
    answer = message("I do not know.", "assistant").model_copy(update={"knowledge": searches or None})
    result = finished(turn_id, lease.claimed.attempt, output=(answer,), **members)
    assert await lease.job.finish(result)
    await history.wait_for_end(turn_id)
    return result


async def ask(history: History, session_id: str, text: str, *searches: Retrieval, **members: Any) -> Any:
    return await end(history, (await history.admit(session_id, text)).turn.id, *searches, **members)


async def test_a_question_without_any_passage_is_a_gap_and_is_counted_once(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await ask(history, session_id, "Any news?")
    await ask(history, session_id, "When do you open?", NOTHING, SOMETHING)
    await ask(history, session_id, "Broken?", NOTHING, status="failed", error={"code": "turn_failed"})
    first = await ask(history, session_id, "Do you sell gift cards?", NOTHING)
    second = await ask(history, session_id, "do you sell GIFT cards", NOTHING, NOTHING)
    await history.dependencies.finalizer.finish(first)
    found = await gaps(history)
    assert (found.days, found.questions, found.truncated) == (7, 2, False)
    (gap,) = found.gaps
    assert (gap.question, gap.count) == ("do you sell GIFT cards", 2)
    examples = [(turn.turn_id, turn.session_id) for turn in gap.examples]
    assert examples == [(second.turn_id, session_id), (first.turn_id, session_id)]


async def test_a_draft_leaves_no_gap(history: History) -> None:
    await history.publish()
    session = await history.client.create_session(
        WORKSPACE, "ses_00000000000000000000000001", "agt_demo", {}, draft=True
    )
    await ask(history, session.id, "Do you sell gift cards?", NOTHING)
    assert (await gaps(history)).questions == 0


async def test_a_gap_is_erased_with_its_session(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await ask(history, session_id, "Do you sell gift cards?", NOTHING)
    assert (await gaps(history)).questions == 1
    await history.client.delete_session(WORKSPACE, session_id)
    assert (await gaps(history)).questions == 0


async def test_a_completion_leaves_a_gap_only_as_long_as_it_is_stored(history: History) -> None:
    await history.publish()
    unstored = (await history.client.admit(WORKSPACE, completion("Do you sell gift cards?"))).turn
    turn = (await history.client.admit(WORKSPACE, completion("Do you sell gift cards?", store=True))).turn
    for each in (unstored, turn):
        await end(history, each.id, NOTHING)
    (gap,) = (await gaps(history)).gaps
    assert [example.turn_id for example in gap.examples] == [turn.id]
    await history.client.delete_completion(WORKSPACE, turn.id)
    assert (await gaps(history)).questions == 0
    assert "gap" not in await history.document(turn.id)


async def test_gaps_belong_to_their_agent_and_their_workspace(history: History) -> None:
    await history.publish()
    await history.publish("agt_other")
    await ask(history, await history.session(), "Do you sell gift cards?", NOTHING)
    assert (await gaps(history, "agt_other")).questions == 0
    for workspace, agent_id in ((WORKSPACE, "agt_absent"), ("ws_foreign", "agt_demo")):
        with pytest.raises(ApiError) as raised:
            await history.client.knowledge_gaps(workspace, agent_id, {})
        assert raised.value.code is Code.AGENT_NOT_FOUND


@pytest.mark.parametrize("days", ["0", "91", "x", "-1", "٣", ""])
async def test_a_bad_number_of_days_is_refused(history: History, days: str) -> None:
    await history.publish()
    with pytest.raises(ApiError) as raised:
        await gaps(history, days=days)
    assert raised.value.code is Code.INVALID_REQUEST


async def test_questions_of_earlier_days_are_left_out(history: History) -> None:
    await history.publish()
    await ask(history, await history.session(), "Do you sell gift cards?", NOTHING)
    row = (await gaps(history, days="90")).gaps[0].examples[0]

    old = id_at("trn", time_of(row.turn_id) - 3 * 86_400_000)
    await history.documents.turns.update_one({"_id": row.turn_id}, {"$set": {"gapId": old}})
    assert (await gaps(history, days="2")).questions == 0
    assert (await gaps(history, days="4")).questions == 1


async def test_an_answer_that_names_none_of_its_passages_is_a_gap_of_another_reason(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    (passage,) = SOMETHING.passages
    numbered = SOMETHING.model_copy(update={"passages": (passage.model_copy(update={"marker": 1}),)})
    await ask(history, session_id, "Nothing at all?", NOTHING)
    await ask(history, session_id, "Found, not numbered?", SOMETHING)
    await ask(history, session_id, "Found, not cited?", numbered)
    citation = Citation(marker=1, start=8, end=11, passage=PassageName(source_id="src_1", title="Hours"))
    cited = message("At nine [1]", "assistant").model_copy(update={"knowledge": (numbered,), "citations": (citation,)})
    turn = (await history.admit(session_id, "Found and cited?")).turn
    lease = await history.claim(turn.id)
    assert await lease.job.finish(finished(turn.id, lease.claimed.attempt, output=(cited,)))
    await history.wait_for_end(turn.id)
    found = {reason: await gaps(history, reason=reason) for reason in ("nothing_found", "nothing_cited", "any")}
    assert {reason: [gap.question for gap in one.gaps] for reason, one in found.items()} == {
        "nothing_found": ["Nothing at all?"],
        "nothing_cited": ["Found, not cited?"],
        "any": ["Found, not cited?", "Nothing at all?"],
    }
    with pytest.raises(ApiError) as raised:
        await gaps(history, reason="other")
    assert raised.value.code is Code.INVALID_REQUEST
