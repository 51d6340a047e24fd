"""What a claim brings of earlier turns, and that it is read from MongoDB only where it is not known yet."""

from typing import Any

import orjson
import pytest

from services.history.mongo.collection import Collection
from services.history.turns.context import KEPT_S, Contexts
from services.history.turns.token_rates import ModelKey
from shared.contracts.agents import Limits
from shared.contracts.sessions import Citation, PassageName, Retrieval, RetrievedPassage
from shared.contracts.turns import Usage
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, finished, message, running, settings_for


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The turn numbers that were looked up, as [from, to)."""
    seen: list[tuple[int, int]] = []
    plain = Collection.many

    async def many(self: Collection, where: Any, **options: Any) -> Any:
        if hasattr(where.get("n"), "terms") and "$lt" in where["n"].terms:
            seen.append((where["n"].terms["$gte"], where["n"].terms["$lt"]))
        return await plain(self, where, **options)

    monkeypatch.setattr(Collection, "many", many)
    return seen


async def shown(history: History, session_id: str) -> list[str | None]:
    """What the session's next turn would be shown; it is then answered with the number of its messages."""
    turn = (await history.admit(session_id, "next")).turn
    lease = await history.claim(turn.id)
    messages = [message.content for message in lease.claimed.context]
    await lease.job.finish(finished(turn.id, lease.claimed.attempt, str(len(messages))))
    await history.wait_for_end(turn.id)
    return messages


async def test_a_session_in_use_is_not_read_again(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    session_id = await history.session()
    expected: list[str] = []
    for number in range(5):
        assert await shown(history, session_id) == expected
        expected += ["next", str(2 * number)]
    assert ranges == []


async def test_what_another_history_stored_is_seen(
    history: History, mongodb_uri: str, redis_url: str, ranges: list[tuple[int, int]]
) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id, "one", "two")
    settings = settings_for(mongodb_uri, redis_url, mongodb_database=history.dependencies.settings.mongodb_database)
    async with running(settings) as other:
        await eventually(lambda: is_ready(other), within_s=20.0, what="a ready history")
        # Either of the two may store an end; each is asked in turn, and shows all that has ended.
        expected = ["one", "two"]
        for number in range(10):
            asked = (history, other)[number % 2]
            assert await shown(asked, session_id) == expected
            expected += ["next", str(len(expected))]
    assert ranges
    assert all(low > 1 or high == 2 for low, high in ranges[1:])


async def test_an_end_that_history_made_is_shown_as_it_is_stored(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, "one")).turn
    await history.claim(turn.id)
    await history.write(turn.id, 1, "half ", "an answer")
    await history.lapse(turn.id)
    await history.client.cancel(WORKSPACE, turn.id)
    await history.wait_for_end(turn.id)
    assert await shown(history, session_id) == ["one", "half an answer"]


async def test_what_was_retrieved_for_an_earlier_turn_is_left_out(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, "one")).turn
    lease = await history.claim(turn.id)
    passage = RetrievedPassage(source_id="src_1", title="Hours", text="From eleven.", score=1.0)
    citation = Citation(marker=1, start=4, end=7, passage=PassageName(source_id="src_1", title="Hours"))
    answer = message("two [1]", "assistant").model_copy(
        update={"knowledge": (Retrieval(query="one", passages=(passage,)),), "citations": (citation,)}
    )
    await lease.job.finish(finished(turn.id, 1, output=(answer,)))
    await history.wait_for_end(turn.id)
    assert (await history.document(turn.id))["output"][0]["knowledge"]
    read_anew = Contexts(history.dependencies.database)
    for contexts in (history.dependencies.finalizer.contexts, read_anew):
        said = orjson.loads(await contexts.before(WORKSPACE, session_id, 2, Limits()))
        assert said == [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]


async def test_a_deleted_session_is_forgotten(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    session_id = await history.session()
    await shown(history, session_id)
    contexts = history.dependencies.finalizer.contexts
    assert b"next" in await contexts.before(WORKSPACE, session_id, 2, Limits())
    assert ranges == []
    await history.client.delete_session(WORKSPACE, session_id)
    assert await contexts.before(WORKSPACE, session_id, 2, Limits()) == b"[]"
    assert ranges == [(1, 2)]


async def test_what_is_kept_is_bounded_and_let_go(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    sessions = [await history.session() for _ in range(4)]
    for session_id in sessions:
        await history.answer(session_id, "question", "x" * 3000)
    contexts = Contexts(history.dependencies.database, kept_bytes=9_000)
    for session_id in sessions:
        await contexts.before(WORKSPACE, session_id, 2, Limits())
    assert len(ranges) == 4
    await contexts.before(WORKSPACE, sessions[3], 2, Limits())
    await contexts.before(WORKSPACE, sessions[2], 2, Limits())
    assert len(ranges) == 4
    await contexts.before(WORKSPACE, sessions[0], 2, Limits())
    assert len(ranges) == 5


async def test_a_session_that_is_not_used_is_let_go(history: History, ranges: list[tuple[int, int]]) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    now = 1000.0
    contexts = Contexts(history.dependencies.database, clock=lambda: now)
    for _ in range(2):
        await contexts.before(WORKSPACE, session_id, 2, Limits())
        assert len(ranges) == 1
        now += KEPT_S - 1
    now += 2
    await contexts.before(WORKSPACE, "ses_other", 1, Limits())
    await contexts.before(WORKSPACE, session_id, 2, Limits())
    assert len(ranges) == 2


async def test_a_session_whose_claims_go_elsewhere_is_not_gathered(
    history: History, ranges: list[tuple[int, int]]
) -> None:
    """No more of it than a claim asked for, and nothing before the first one did."""
    contexts, said = (
        Contexts(history.dependencies.database, kept_bytes=20_000),
        [{"role": "user", "content": "x" * 900}],
    )
    limits = Limits(context_turns=3)
    contexts.add(WORKSPACE, "ses_elsewhere", 1, "completed", said)
    await contexts.before(WORKSPACE, "ses_elsewhere", 2, limits)
    assert ranges == [(1, 2)]
    await contexts.before(WORKSPACE, "ses_other", 1, limits)
    for number in range(1, 31):
        contexts.add(WORKSPACE, "ses_other", number, "completed", said)
    assert (await contexts.before(WORKSPACE, "ses_other", 31, limits)).count(b"content") == 3
    await contexts.before(WORKSPACE, "ses_other", 28, limits)
    assert ranges == [(1, 2), (25, 28)]


async def test_the_context_holds_as_many_tokens_as_the_model_counts(history: History) -> None:
    """A model that reports twice the estimate gets half the text: it would refuse more."""
    await history.publish()
    session_id = await history.session()
    for number in range(1, 41):
        await history.answer(session_id, "next", f"{number} " + "four" * 99)
    model, other = ModelKey("default", "twice"), ModelKey("default", "as estimated")
    contexts = Contexts(history.dependencies.database)
    limits = Limits(context_turns=20, context_tokens=1_100)
    at_first = orjson.loads(await contexts.before(WORKSPACE, session_id, 41, limits, model))
    for _ in range(100):
        said = [{"role": "assistant", "content": "four" * 400}]
        contexts.add(WORKSPACE, session_id, 41, "completed", said, Usage(completion_tokens=800))
    by_then = orjson.loads(await contexts.before(WORKSPACE, session_id, 41, limits, model))
    assert (len(at_first), len(by_then)) == (20, 10)
    assert by_then == at_first[-10:]
    assert orjson.loads(await contexts.before(WORKSPACE, session_id, 41, limits, other)) == at_first
