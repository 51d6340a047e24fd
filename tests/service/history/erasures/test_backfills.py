"""Completions of earlier releases belong to their end users too."""

import orjson

from services.history.erasures.backfills import completion_end_users
from services.history.sessions.backfills import searched_turns
from tests.service.history.running import WORKSPACE, History
from tests.service.history.sessions.test_backfills import began_anew, turn


async def test_a_completion_of_an_earlier_release_is_found_by_its_end_user(history: History) -> None:
    await began_anew(history)
    request = orjson.dumps({"store": True, "endUser": {"id": "jane"}}).decode()
    rows = [turn(number, store=True, completion=request) for number in (1, 2)]
    rows += [turn(3, store=True, completion="{}"), turn(4, completion=request)]
    for number, row in enumerate(rows):
        del row["sessionId"], row["n"]
        row["storedId"] = row["_id"]
        if number == 1:
            del row["completion"]  # It was erased.
    await history.documents.turns.insert_many(rows)
    await completion_end_users(history.dependencies.database).reconcile()
    found, _ = await history.client.end_user_completions(WORKSPACE, "jane", None, 10)
    assert [stored.turn.id for stored in found] == [rows[0]["_id"], rows[3]["_id"]]
    # A process that dies repeats a page.
    await history.documents.backfills.delete_many({})
    await completion_end_users(history.dependencies.database).reconcile()
    assert len((await history.client.end_user_completions(WORKSPACE, "jane", None, 10))[0]) == 2


async def test_an_erased_turn_gets_no_mark_for_the_search(history: History) -> None:
    """It names no session: the search could not read it."""
    await began_anew(history)
    row = turn(1)
    await history.documents.turns.insert_one(row)
    walk = searched_turns(history.dependencies.database)
    visit = walk._visit
    await history.documents.turns.replace_one(
        {"_id": row["_id"]}, {"workspace": WORKSPACE, "active": False, "usageOnly": True}
    )
    assert not await visit(row)
    assert "unindexed" not in await history.document(row["_id"])
