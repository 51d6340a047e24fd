"""One turn of a session, erased alone."""

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import CompletionRequest
from shared.ids import new_id
from tests.service.history.running import WORKSPACE, History, finished, order


async def told(history: History, session: str, text: str) -> str:
    """A turn of the session that has ended."""
    asked = order(session, text, completion=CompletionRequest(is_response=True, instructions=f"about {text}"))
    turn_id = (await history.client.admit(WORKSPACE, asked)).turn.id
    lease = await history.claim(turn_id)
    assert await lease.job.finish(finished(turn_id, lease.claimed.attempt, f"Answer to {text}."))
    await history.wait_for_end(turn_id)
    return turn_id


async def session_of(history: History) -> str:
    await history.publish()
    return (await history.client.create_session(WORKSPACE, new_id("ses"), "agt_demo", {}, False)).id


async def test_an_erased_turn_is_in_no_transcript_and_no_prompt_and_the_others_stay(history: History) -> None:
    session = await session_of(history)
    first, second = [await told(history, session, text) for text in ("the first", "the second")]
    for _ in range(2):
        await history.client.delete_turn(WORKSPACE, first, "key_x")
    stored = await history.client.turn(WORKSPACE, first)
    assert (stored.erased, stored.input, stored.output, stored.completion) == (True, (), (), None)
    texts = [message["content"] for message in (await history.client.messages(WORKSPACE, session, {}))["items"]]
    assert texts == ["the second", "Answer to the second."]
    # Another process may have the erased turn cached: what follows it does not ask for it.
    for parent in (None, second):
        following = order(session, "hidden?", parent=parent)
        await history.client.admit(WORKSPACE, following)
        row = await history.dependencies.database.turns.one({"_id": following.turn_id})
        assert row is not None
        assert row["hidden"][0] == [1, 1]
        await history.client.cancel(WORKSPACE, following.turn_id)
        await history.wait_for_end(following.turn_id)
    later = order(session, "the third", parent=second)
    await history.client.admit(WORKSPACE, later)
    context = (await history.claim(later.turn_id)).claimed.context
    assert [message.content for message in context] == texts
    row = await history.dependencies.database.turns.one({"_id": first})
    assert not any(text in str(row) for text in ("Answer to", "about the first", "indexed"))
    assert (await history.client.turn(WORKSPACE, second)).output[0].content == "Answer to the second."
    entries = await history.dependencies.database.audit.many({"workspace": WORKSPACE})
    assert [entry["action"] for entry in entries if first in str(entry)] == ["response.deleted"]


async def test_only_an_ended_turn_of_a_session_is_erased_so(history: History) -> None:
    session = await session_of(history)
    running = order(session)
    await history.client.admit(WORKSPACE, running)
    for turn_id, workspace, code in (
        (running.turn_id, WORKSPACE, Code.TURN_IN_PROGRESS),
        (running.turn_id, "ws_other", Code.TURN_NOT_FOUND),
        (new_id("trn"), WORKSPACE, Code.TURN_NOT_FOUND),
    ):
        with pytest.raises(ApiError) as raised:
            await history.client.delete_turn(workspace, turn_id)
        assert raised.value.code is code
