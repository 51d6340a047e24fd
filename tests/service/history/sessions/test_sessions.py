"""Sessions and their transcripts."""

import asyncio
from typing import Any

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import EndUser
from shared.contracts.turns import ClaimedTurn, ClaimTurn
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion, finished
from tests.service.history.running import order as turn_order


async def refused(call: Any) -> Code:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value.code


async def test_a_session_pins_the_published_version(history: History) -> None:
    await history.publish(instructions="One.")
    session_id = await history.session()
    await history.publish(instructions="Two.")
    assert (await history.client.session(WORKSPACE, session_id)).agent_version == 1
    assert (await history.client.session(WORKSPACE, await history.session())).agent_version == 2


async def test_an_unpublished_agent_has_only_draft_sessions(history: History) -> None:
    create = history.client.create_session
    assert await refused(create(WORKSPACE, new_id("ses"), "agt_none", {}, draft=False)) is Code.AGENT_NOT_FOUND
    await history.client.put_agent(WORKSPACE, "agt_demo", (await _config()))
    assert await refused(create(WORKSPACE, new_id("ses"), "agt_demo", {}, draft=False)) is Code.NO_PUBLISHED_VERSION
    session = await create(WORKSPACE, new_id("ses"), "agt_demo", {}, draft=True)
    turn = (await history.admit(session.id)).turn
    claimed = (await history.claim(turn.id)).claimed
    assert claimed.agent is not None
    assert (claimed.agent.number, claimed.agent.config.instructions) == (0, "Draft.")


async def _config() -> Any:
    from tests.service.history.running import config

    return config("Draft.")


async def test_creating_a_session_again_changes_nothing(history: History) -> None:
    await history.publish()
    session_id = new_id("ses")
    metadata = {"$where": "1", "a.b": "c"}
    first = await history.client.create_session(WORKSPACE, session_id, "agt_demo", metadata, draft=False)
    again = await history.client.create_session(WORKSPACE, session_id, "agt_demo", {}, draft=False)
    assert again == first == await history.client.session(WORKSPACE, session_id)
    assert again.metadata == metadata


async def test_a_clients_own_id_names_one_session_of_its_agent(history: History) -> None:
    await history.publish()
    client = history.client

    async def create(agent_id: str = "agt_demo", workspace: str = WORKSPACE) -> str:
        made = await client.create_session(workspace, new_id("ses"), agent_id, {}, draft=False, client_id="chat 1/ü")
        assert made.client_id == "chat 1/ü"
        return made.id

    made = await asyncio.gather(*(create() for _ in range(5)))
    assert len(set(made)) == 1
    await history.publish("agt_other")
    assert await create("agt_other") != made[0]
    assert (await client.client_session(WORKSPACE, "agt_demo", "chat 1/ü")).id == made[0]
    assert await refused(client.client_session("rival", "agt_demo", "chat 1/ü")) is Code.SESSION_NOT_FOUND
    await client.delete_session(WORKSPACE, made[0])
    assert await refused(client.client_session(WORKSPACE, "agt_demo", "chat 1/ü")) is Code.SESSION_NOT_FOUND
    assert await create() not in made


async def test_a_foreign_session_is_an_unknown_one(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    client = history.client
    for call in (
        client.session("other", session_id),
        client.messages("other", session_id, {}),
        client.end_session("other", session_id),
        client.delete_session("other", session_id),
        client.session(WORKSPACE, new_id("ses")),
    ):
        assert await refused(call) is Code.SESSION_NOT_FOUND
    assert (await client.session(WORKSPACE, session_id)).status == "active"


async def test_pages_of_sessions_are_newest_first_without_gap_or_repeat(history: History) -> None:
    await history.publish()
    made = [await history.session() for _ in range(7)]
    await history.client.end_session(WORKSPACE, made[2])
    await history.client.delete_session(WORKSPACE, made[4])
    seen, query = [], {"limit": "2"}
    while True:
        page = await history.client.sessions(WORKSPACE, query)
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    expected = [session_id for session_id in reversed(made) if session_id != made[4]]
    assert seen == expected
    ended = await history.client.sessions(WORKSPACE, {"status": "ended", "agentId": "agt_demo"})
    assert [item["id"] for item in ended["items"]] == [made[2]]
    assert (await history.client.sessions(WORKSPACE, {"agentId": "agt_other"}))["items"] == []
    assert (await history.client.sessions("other", {}))["items"] == []


async def test_old_sessions_are_found_too(history: History) -> None:
    await history.publish()
    old = "ses_0" + new_id("ses")[5:]  # Made long before 2020, by its id.
    await history.client.create_session(WORKSPACE, old, "agt_demo", {}, draft=False)
    new = await history.session()
    page = await history.client.sessions(WORKSPACE, {})
    assert [item["id"] for item in page["items"]] == [new, old]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "x"},
        {"limit": "-1"},
        {"limit": "٣"},
        {"cursor": "x"},
        {"cursor": "é"},
    ],
)
async def test_bad_limits_and_cursors_are_refused(history: History, query: dict[str, str]) -> None:
    await history.publish()
    session_id = await history.session()
    assert await refused(history.client.sessions(WORKSPACE, query)) is Code.INVALID_REQUEST
    assert await refused(history.client.messages(WORKSPACE, session_id, query)) is Code.INVALID_REQUEST


async def test_cursors_of_another_list_or_direction_are_refused(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    for _ in range(2):
        await history.answer(session_id)
    await history.session()
    of_sessions = (await history.client.sessions(WORKSPACE, {"limit": "1"}))["nextCursor"]
    of_messages = (await history.client.messages(WORKSPACE, session_id, {"limit": "1"}))["nextCursor"]
    assert (
        await refused(history.client.messages(WORKSPACE, session_id, {"cursor": of_sessions})) is Code.INVALID_REQUEST
    )
    assert await refused(history.client.sessions(WORKSPACE, {"cursor": of_messages})) is Code.INVALID_REQUEST
    backwards = {"cursor": of_messages, "order": "desc"}
    assert await refused(history.client.messages(WORKSPACE, session_id, backwards)) is Code.INVALID_REQUEST
    assert await refused(history.client.messages(WORKSPACE, session_id, {"order": "up"})) is Code.INVALID_REQUEST


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", ["1", "3", "200"])
async def test_pages_of_messages_cross_turns_without_gap_or_repeat(history: History, order: str, limit: str) -> None:
    await history.publish()
    session_id = await history.session()
    for number in range(4):
        await history.answer(session_id, f"question {number}", f"answer {number}")
    await history.admit(session_id, "question 4")
    seen, query = [], {"limit": limit, "order": order}
    while True:
        page = await history.client.messages(WORKSPACE, session_id, query)
        seen += [item["content"] for item in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    expected = [text for number in range(4) for text in (f"question {number}", f"answer {number}")] + ["question 4"]
    assert seen == (expected if order == "asc" else expected[::-1])


async def test_a_transcript_longer_than_one_read_is_whole(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id, "first")
    template = await history.documents.turns.find_one({})
    rows = [
        {**template, "_id": new_id("trn"), "n": n, "input": [{**template["input"][0], "content": f"q{n}"}]}
        for n in range(2, 131)
    ]
    await history.documents.turns.insert_many(rows)
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"turnCount": 130}})
    for direction in ("asc", "desc"):
        page = await history.client.messages(WORKSPACE, session_id, {"limit": "200", "order": direction})
        rest = await history.client.messages(
            WORKSPACE, session_id, {"limit": "200", "order": direction, "cursor": page["nextCursor"]}
        )
        questions = [item["content"] for item in page["items"] + rest["items"] if item["role"] == "user"]
        expected = ["first"] + [f"q{n}" for n in range(2, 131)]
        assert questions == (expected if direction == "asc" else expected[::-1])


async def test_a_turn_is_read_without_its_text(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id, "a question")
    (turn_id,) = {item["turnId"] for item in (await history.client.messages(WORKSPACE, session_id, {}))["items"]}
    whole, bare = (
        await history.client.turn(WORKSPACE, turn_id),
        await history.client.turn(WORKSPACE, turn_id, text=False),
    )
    assert (bare.turn, bare.last_seq, bare.output) == (whole.turn, whole.last_seq, ())
    assert [(message.id, message.role, message.content) for message in bare.input] == [
        (whole.input[0].id, "user", None)
    ]


async def test_a_session_counts_its_turns(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    for number in range(1, 4):
        await history.answer(session_id)
        session = await history.client.session(WORKSPACE, session_id)
        assert session.turn_count == number
        assert session.last_message_at is not None


async def test_ending_a_session_keeps_its_transcript_and_takes_no_turn(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    ended = await history.client.end_session(WORKSPACE, session_id, "visitor")
    again = await history.client.end_session(WORKSPACE, session_id, "api")
    assert (ended.status, ended.ended_reason, again) == ("ended", "visitor", ended)
    assert await refused(history.admit(session_id)) is Code.SESSION_ENDED
    assert len((await history.client.messages(WORKSPACE, session_id, {}))["items"]) == 2


async def test_ending_a_session_cancels_its_waiting_turn(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    await history.enqueue(turn.id)
    await history.client.end_session(WORKSPACE, session_id)
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "cancelled"
    assert await history.queue.position(turn.id) is None


async def test_deleting_a_session_leaves_a_tombstone_and_no_text(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id, "my secret")
    turn = (await history.admit(session_id, "another secret")).turn
    lease = await history.claim(turn.id)
    await history.write(turn.id, 1, "half a secret")
    await history.client.delete_session(WORKSPACE, session_id)
    await history.client.delete_session(WORKSPACE, session_id)
    assert await history.count(sessionId=session_id) == 0
    assert [key async for key in history.queue.scan_iter("turn:*")] == []
    assert await refused(history.client.session(WORKSPACE, session_id)) is Code.SESSION_NOT_FOUND
    assert await refused(history.client.messages(WORKSPACE, session_id, {})) is Code.SESSION_NOT_FOUND
    assert await refused(history.admit(session_id)) is Code.SESSION_NOT_FOUND
    assert await refused(history.client.turn(WORKSPACE, turn.id)) is Code.TURN_NOT_FOUND
    tombstone = await history.documents.sessions.find_one({"_id": session_id})
    assert (tombstone["status"], "metadata" in tombstone, "erasing" in tombstone) == ("deleted", False, False)
    # The worker has not noticed, writes on, and finishes.
    await history.write(turn.id, 1, "half a secret")
    await lease.job.finish(finished(turn.id, 1))

    async def gone() -> bool:
        return [key async for key in history.queue.scan_iter("turn:*")] == [] and not await history.queue.xlen(
            "turns.finished"
        )

    await eventually(gone, what="the late log's erasure")


async def test_an_interrupted_deletion_is_completed(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "deleted", "erasing": True}})

    async def erased() -> bool:
        return await history.count(sessionId=session_id) == 0

    await eventually(erased, what="the deletion's completion")


async def test_a_turn_that_slipped_into_an_ended_session_is_not_run(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    job = await history.lease(turn.id)
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "ended"}})
    assert not await history.begin(turn.id, "stranger", 1, session_id=session_id)
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "queued"
    assert not await history.begin(turn.id, job.claim_id, 1, session_id=session_id)
    stored = (await history.client.turn(WORKSPACE, turn.id)).turn
    assert (stored.status, await history.queue.missing([turn.id])) == ("cancelled", [turn.id])


async def test_a_turn_that_slipped_into_a_deleted_session_is_erased(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    job = await history.lease(turn.id)
    await history.documents.sessions.update_one({"_id": session_id}, {"$set": {"status": "deleted"}})
    assert not await history.begin(turn.id, job.claim_id, 1, session_id=session_id)
    assert await refused(history.client.turn(WORKSPACE, turn.id)) is Code.TURN_NOT_FOUND
    assert await history.queue.missing([turn.id]) == [turn.id]


async def test_ending_and_admitting_at_once_leaves_no_active_turn(history: History) -> None:
    await history.publish()
    sessions = [await history.session() for _ in range(15)]
    for session_id in sessions:
        await asyncio.gather(
            history.admit(session_id), history.client.end_session(WORKSPACE, session_id), return_exceptions=True
        )

    async def none_is_active() -> bool:
        return not [each for each in sessions if await history.count(sessionId=each, active=True)]

    await eventually(none_is_active, what="the end of the turns that slipped in")


async def test_a_session_brings_the_values_of_the_agents_variables(history: History) -> None:
    await history.publish(
        instructions="Plan {{plan}}, for {{endUser.name}} of {{endUser.city}}, by {{agent.name}}, {{tone}}.",
        variables={"tone": {"default": "kind"}},
    )
    with pytest.raises(ApiError) as caught:
        await history.client.create_session(WORKSPACE, new_id("ses"), "agt_demo", {}, draft=False)
    assert [fault["field"] for fault in caught.value.errors] == [
        "metadata.plan",
        "endUser.name",
        "endUser.metadata.city",
    ]
    user = EndUser(id="user-7", name="Ada", metadata={"city": "Rome"})
    session_id = new_id("ses")
    session = await history.client.create_session(
        WORKSPACE, session_id, "agt_demo", {"plan": "gold"}, draft=False, end_user=user
    )
    assert session.end_user == user
    assert (await history.client.session(WORKSPACE, session_id)).end_user == user
    admitted = await history.client.admit(WORKSPACE, turn_order(session_id))
    snapshot = ClaimedTurn.model_validate_json(admitted.snapshot or "")
    claimed = await history.client.claim(WORKSPACE, admitted.turn.id, ClaimTurn(claim_id="c"))
    expected = {"plan": "gold", "endUser.name": "Ada", "endUser.city": "Rome", "agent.name": "Demo", "tone": "kind"}
    assert snapshot.variables == claimed.variables == expected


async def test_a_completion_without_the_value_of_a_variable_is_refused(history: History) -> None:
    await history.publish(instructions="Hello {{endUser.id}}.")
    with pytest.raises(ApiError) as caught:
        await history.client.admit(WORKSPACE, completion())
    assert caught.value.code is Code.VALIDATION_FAILED
