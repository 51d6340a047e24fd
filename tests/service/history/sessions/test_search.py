"""The search of transcripts: which sessions it finds, page by page, and how turns come into its index."""

import random
from typing import Any

import orjson
import pytest

from services.history.sessions import search
from services.history.sessions.transcript_words import TranscriptWords
from services.history.turns import spoken_words
from services.history.turns.spoken_words import place_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import EndUser
from shared.ids import id_at, new_id
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion, finished

MINUTE_MS = 60_000
# 2026-01-01
BEGAN_MS = 1_767_225_600_000


async def found(history: History, text: str, *query: tuple[str, Any], limit: int = 1) -> list[str]:
    """All pages."""
    sessions: list[str] = []
    cursor: list[tuple[str, str]] = []
    while True:
        asked = [("q", text), ("limit", str(limit)), *((name, str(value)) for name, value in query), *cursor]
        page = await history.client.sessions(WORKSPACE, asked)
        assert len(page["items"]) <= limit
        sessions += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            return sessions
        cursor = [("cursor", page["nextCursor"])]


async def indexed(history: History, *turn_ids: str) -> None:
    async def done() -> bool:
        return not [one for one in turn_ids if "place" not in await history.document(one)]

    await eventually(done, what="indexed turns")


async def said(history: History, question: str, answer: str) -> str:
    """A session of one turn, which can be found."""
    session = await history.session()
    await indexed(history, await history.answer(session, question, answer))
    return session


async def test_a_session_is_found_by_words_of_a_question_and_of_its_answer(history: History) -> None:
    await history.publish()
    first = await said(history, "Where is order QX-71?", "Your ORDER is in Málaga.")
    second = await said(history, "我的订单在哪里？", "订单在路上。")
    third = await said(history, "Where do you ship from?", "From Malaga, always.")
    assert await found(history, "malaga") == [third, first]
    assert await found(history, "MÁLAGA order") == [first]
    assert await found(history, "71 qx") == [first]
    assert await found(history, "订单") == [second]
    assert await found(history, "mala") == []
    assert await found(history, "malaga 订单") == [], "all words must be in one turn"
    assert await found(history, "malaga", ("order", "asc")) == [first, third]


async def test_a_search_needs_words_and_not_too_many(history: History) -> None:
    for text in ("", " ?! ", " ".join(f"w{n}" for n in range(33)), "x" * 201):
        with pytest.raises(ApiError) as raised:
            await history.client.sessions(WORKSPACE, [("q", text)])
        assert raised.value.code is Code.INVALID_REQUEST
    for cursor in ("WyJ4Il0", "WyJzZXNfMSJd"):
        with pytest.raises(ApiError) as raised:
            await history.client.sessions(WORKSPACE, [("q", "word"), ("cursor", cursor)])
        assert raised.value.code is Code.INVALID_REQUEST


async def test_a_deleted_session_is_not_found_and_leaves_no_words(history: History) -> None:
    await history.publish()
    gone, kept = await said(history, "Hello there", "Hi."), await said(history, "Hello again", "Hi.")
    await history.client.delete_session(WORKSPACE, gone)
    assert await found(history, "hello") == [kept]
    rows = await history.documents.turns.find({"workspace": WORKSPACE, "words": "there"}).to_list(None)
    assert rows == []


async def test_only_turns_of_sessions_are_indexed(history: History) -> None:
    """Not those of completions, nor those of checks, whose session no caller can find."""
    await history.publish()
    turn = (await history.client.admit(WORKSPACE, completion("Unsaid?", store=True))).turn
    lease = await history.claim(turn.id)
    assert await lease.job.finish(finished(turn.id, 1))
    await history.wait_for_end(turn.id)
    session = await history.session()
    check = (await history.admit(session)).turn.id
    await history.documents.turns.update_one({"_id": check}, {"$set": {"check": "chk_1"}})
    lease = await history.claim(check)
    assert await lease.job.finish(finished(check, 1))
    await history.wait_for_end(check)
    for turn_id in (turn.id, check):
        assert not {"words", "place", "unindexed"} & (await history.document(turn_id)).keys()


async def test_a_turn_that_has_ended_can_be_found_at_once(history: History) -> None:
    """The update that ends it stores its words: no second write, and nothing for the reconciler."""
    await history.publish()
    session = await history.session()
    turn = await history.answer(session, "A question?", "An answer.")
    row = await history.document(turn)
    assert sorted(row["words"]) == ["a", "an", "answer", "question"]
    assert row["place"] == place_of(session, 1)
    assert "unindexed" not in row


async def test_a_turn_whose_words_cannot_be_told_ends_and_is_marked(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: str) -> list[str]:
        raise ValueError("a text that no rule expects")

    await history.publish()
    session = await history.session()
    with monkeypatch.context() as broken:
        broken.setattr(spoken_words, "words_of", fault)
        turn = await history.answer(session, "A question?", "An answer.")
    await TranscriptWords(history.dependencies.database).reconcile()
    row = await history.document(turn)
    assert row["status"] == "completed"
    assert "question" in row["words"]
    assert "unindexed" not in row


async def test_a_turn_that_history_ends_is_found_by_its_question(history: History) -> None:
    await history.publish()
    session = await history.session()
    turn = (await history.admit(session, "Forget this")).turn.id
    await history.client.cancel(WORKSPACE, turn)
    await indexed(history, turn)
    assert await found(history, "forget") == [session]


async def test_words_that_were_not_stored_are_stored_later_and_once(history: History) -> None:
    """The mark stays until the words are there, whenever the process that stores them dies."""
    await history.publish()
    session = await said(history, "Remember the milk", "Noted.")
    where, mark = {"workspace": WORKSPACE, "sessionId": session}, {"$set": {"unindexed": True}}
    forget = {"$unset": {"words": "", "place": ""}}
    await history.documents.turns.update_one(where, {**mark, **forget})
    index = TranscriptWords(history.dependencies.database)
    await index.reconcile()
    await index.reconcile()
    row = await history.documents.turns.find_one(where)
    assert sorted(row["words"]) == ["milk", "noted", "remember", "the"]
    assert row["place"] == place_of(session, 1)
    assert "unindexed" not in row
    # The texts are what clients see; the words are no part of them.
    assert "words" not in (await history.client.turn(WORKSPACE, row["_id"])).wire()


async def test_words_of_one_turn_are_bounded(history: History) -> None:
    await history.publish()
    session = await history.session()
    turn = await history.answer(session, "first", " ".join(f"word{n}" for n in range(2_000)))
    await indexed(history, turn)
    assert len((await history.document(turn))["words"]) == 500
    assert await found(history, "first word498") == [session]


WORDS = ("often", "sometimes", "rarely")


async def grown(history: History, *, sessions: int, turns: int, seed: int) -> dict[str, list[set[str]]]:
    """Sessions with the words of their turns, straight in the store: the second half an hour after the first."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    await history.publish()
    kept: dict[str, list[set[str]]] = {}
    documents: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number in range(sessions):
        session = id_at("ses", BEGAN_MS + number * MINUTE_MS + (60 * MINUTE_MS if number > sessions // 2 else 0))
        plan = "pro" if draw.random() < 0.2 else "free"
        rows.append(
            {"_id": session, "workspace": WORKSPACE, "agentId": "agt_demo", "agentVersion": 1 + number % 2}
            | {"status": "ended" if number % 3 else "active", "turnCount": turns, "createdAt": None}
            | {"labels": [orjson.dumps(["plan", plan]).decode()], "endUserId": f"u{number % 7}"}
        )
        kept[session] = []
        for n in range(1, turns + 1):
            words = {word for word, share in zip(WORDS, (0.7, 0.3, 0.05), strict=True) if draw.random() < share}
            kept[session].append(words)
            documents.append(
                {"_id": new_id("trn"), "workspace": WORKSPACE, "sessionId": session, "n": n, "active": False}
                | {"agentId": "agt_demo", "agentVersion": 1 + number % 2, "status": "completed"}
                | {"words": sorted(words), "place": place_of(session, n)}
            )
    for row in rows:
        row["createdAt"] = (await history.documents.agents.find_one({}))["createdAt"]
    await history.documents.sessions.insert_many(rows)
    await history.documents.turns.insert_many(documents)
    return kept


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(("probe", "read", "most"), [(64, 200, 4_000), (4, 5, 10), (2, 1, 1)])
async def test_every_combination_of_words_and_filters_finds_what_it_should(
    history: History, monkeypatch: pytest.MonkeyPatch, direction: str, probe: int, read: int, most: int
) -> None:
    """However little a page may read: then pages are short or empty, and their cursor goes on."""
    for name, value in (("PROBE", probe), ("READ", read), ("MAX_READ", most), ("MAX_SESSIONS", most)):
        monkeypatch.setattr(search, name, value)
    kept = await grown(history, sessions=30, turns=3, seed=search.PROBE)
    order = sorted(kept, reverse=direction == "desc")
    numbers = {session: number for number, session in enumerate(sorted(kept))}
    labelled = {
        row["_id"] for row in await history.documents.sessions.find({}).to_list(None) if "pro" in row["labels"][0]
    }
    filters: dict[tuple[str, str] | None, Any] = {
        None: lambda _: True,
        ("agentId", "agt_other"): lambda _: False,
        ("status", "active"): lambda session: numbers[session] % 3 == 0,
        ("endUser", "u3"): lambda session: numbers[session] % 7 == 3,
        ("label", '["plan","pro"]'): lambda session: session in labelled,
        ("createdFrom", str(BEGAN_MS + 15 * MINUTE_MS)): lambda session: numbers[session] >= 15,
    }
    for words in (("often",), ("rarely",), ("often", "sometimes"), ("never",)):
        for filtered, passes in filters.items():
            wanted = [
                session for session in order if passes(session) and any(set(words) <= turn for turn in kept[session])
            ]
            query = [("order", direction), *([filtered] if filtered else [])]
            assert await found(history, " ".join(words), *query, limit=7) == wanted, (words, filtered)


async def test_a_session_of_an_end_user_is_found_among_many_that_said_the_same(history: History) -> None:
    await history.publish()
    session = await history.client.create_session(
        WORKSPACE, new_id("ses"), "agt_demo", {}, draft=False, end_user=EndUser(id="u 1")
    )
    await indexed(history, await history.answer(session.id, "Hello", "Hi"))
    await said(history, "Hello", "Hi")
    assert await found(history, "hello", ("endUser", "u 1")) == [session.id]
    assert await found(history, "hello", ("endUser", "u 2")) == []
