"""Completions that are kept."""

from collections.abc import Sequence
from typing import Any

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import CompletionRequest
from shared.ids import new_id
from tests.service.history.running import WORKSPACE, History, completion, config, finished


async def refused(call: Any) -> Code:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value.code


async def ended(history: History, turn_id: str, **members: Any) -> str:
    lease = await history.claim(turn_id)
    assert await lease.job.finish(finished(turn_id, lease.claimed.attempt, **members))
    await history.wait_for_end(turn_id)
    return turn_id


async def kept(history: History, agent_id: str = "agt_demo", **metadata: str) -> str:
    """A stored completion that has ended."""
    kept_with = CompletionRequest(store=True, metadata=metadata)
    wanted = completion().model_copy(update={"agent_id": agent_id, "completion": kept_with})
    return await ended(history, (await history.client.admit(WORKSPACE, wanted)).turn.id)


async def listed(
    history: History, *labels: str, workspace: str = WORKSPACE, **query: str
) -> tuple[list[str], str | None]:
    asked: Sequence[tuple[str, str]] = [*query.items(), *(("label", label) for label in labels)]
    page = await history.client.completions(workspace, asked)
    return [item["turn"]["id"] for item in page["items"]], page["nextCursor"]


async def test_stored_completions_are_listed_by_pages_in_both_directions(history: History) -> None:
    await history.publish()
    ids = [await kept(history) for _ in range(5)]
    await history.client.admit(WORKSPACE, completion(store=True))  # Runs: there is nothing to show yet.
    await ended(history, (await history.client.admit(WORKSPACE, completion())).turn.id)
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        first, after = await listed(history, order=order, limit="2")
        assert (first, after) == (expected[:2], expected[1])
        assert await listed(history, order=order, limit="3", after=expected[1]) == (expected[2:], None)
        assert await listed(history, order=order, after=expected[4]) == ([], None)
    assert await listed(history) == (ids, None)


async def test_a_listing_shows_the_answer_but_not_what_was_asked(history: History) -> None:
    await history.publish()
    await kept(history)
    (item,) = (await history.client.completions(WORKSPACE, []))["items"]
    assert ([message["content"] for message in item["output"]], item["input"]) == (["Hi."], [])


async def test_a_listing_is_filtered_by_agent_and_by_every_pair_of_metadata(history: History) -> None:
    await history.publish()
    await history.publish("agt_other")
    one = await kept(history, a="1", b="2")
    two = await kept(history, a="1")
    other = await kept(history, "agt_other", a="1", **{"$odd.name[]": '"]'})
    assert await listed(history, '["a","1"]') == ([one, two, other], None)
    assert await listed(history, '["a","1"]', '["b","2"]') == ([one], None)
    assert await listed(history, '["$odd.name[]","\\"]"]') == ([other], None)
    assert await listed(history, '["a","2"]') == ([], None)
    assert await listed(history, agentId="agt_other") == ([other], None)


async def test_a_completion_of_long_ago_is_found(history: History) -> None:
    await history.publish()
    recent, old = await kept(history), new_id("trn")[:4] + "01jh" + new_id("trn")[8:]
    document = await history.document(recent)
    await history.documents.turns.insert_one({**document, "_id": old, "storedId": old})
    assert await listed(history, order="asc") == ([old, recent], None)
    assert await listed(history, order="desc") == ([recent, old], None)


@pytest.mark.parametrize("query", [{"order": "up"}, {"after": "chatcmpl-1"}, {"limit": "0"}])
async def test_a_listing_asked_for_wrongly_is_refused(history: History, query: dict[str, str]) -> None:
    assert await refused(listed(history, **query)) is Code.INVALID_REQUEST


async def test_metadata_is_replaced_as_a_whole_and_found_by_its_new_pairs(history: History) -> None:
    await history.publish()
    turn_id = await kept(history, a="1")
    updated = await history.client.update_completion(WORKSPACE, turn_id, {"b": "2"})
    stored = await history.client.turn(WORKSPACE, turn_id)
    assert updated == stored
    assert stored.completion is not None
    assert stored.completion.metadata == {"b": "2"}
    assert await listed(history, '["a","1"]') == ([], None)
    assert await listed(history, '["b","2"]') == ([turn_id], None)


async def test_an_erased_completion_leaves_no_text_and_is_erased_again_without_an_error(history: History) -> None:
    await history.publish()
    turn_id = await kept(history, a="1")
    for _ in range(2):
        await history.client.delete_completion(WORKSPACE, turn_id)
    document = await history.document(turn_id)
    assert (document["input"], document["output"], document["erased"]) == ([], [], True)
    assert not {"completion", "labels", "storedId"} & set(document)
    assert document["expiresAt"] > document["createdAt"]
    assert await history.frames(turn_id) == []
    assert await listed(history) == ([], None)
    assert await refused(history.client.update_completion(WORKSPACE, turn_id, {})) is Code.TURN_NOT_FOUND


async def test_only_what_was_stored_and_has_ended_in_this_workspace_can_be_changed(history: History) -> None:
    await history.publish()
    mine = await kept(history)
    running = (await history.client.admit(WORKSPACE, completion(store=True))).turn.id
    passing = await ended(history, (await history.client.admit(WORKSPACE, completion())).turn.id)
    in_a_session = await history.answer(await history.session())
    failed = (await history.client.admit(WORKSPACE, completion(store=True))).turn.id
    await ended(
        history, failed, status="failed", error=ApiError(Code.TURN_FAILED).problem(), finish_reason=None, output=()
    )
    assert await listed(history, workspace="other") == ([], None)
    for workspace, turn_id in [
        ("other", mine),
        *((WORKSPACE, name) for name in (running, passing, in_a_session, new_id("trn"))),
    ]:
        assert await refused(history.client.update_completion(workspace, turn_id, {"a": "1"})) is Code.TURN_NOT_FOUND
        assert await refused(history.client.delete_completion(workspace, turn_id)) is Code.TURN_NOT_FOUND
    assert await refused(history.client.update_completion(WORKSPACE, failed, {})) is Code.TURN_NOT_FOUND
    await history.client.delete_completion(WORKSPACE, failed)
    assert await listed(history) == ([mine], None)


async def test_an_agent_that_was_never_published_is_no_model(history: History) -> None:
    await history.client.put_agent(WORKSPACE, "agt_demo", config())
    assert await refused(history.client.admit(WORKSPACE, completion())) is Code.MODEL_NOT_FOUND
