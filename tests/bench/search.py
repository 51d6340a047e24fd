"""Whether search and filters stay flat: the same questions to a workspace of 10,000 turns and to one of 100,000.

Indexes: `transcript_words` for the words; for the filters those of sessions by agent, by `session_end_user` and by
`session_metadata`, and `(workspace, status, _id)`. Each ends with the session's id.
"""

from collections.abc import Iterator
from typing import Any, Final

import orjson
from pymongo import MongoClient

from services.history.turns.spoken_words import place_of
from tests.bench.grown import Document, Store, compared, now_ms, old_id, workspace_of
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name

SMALL: Final = 10_000
LARGE: Final = 100_000
TURNS: Final = 10  # Of each session.
# Every so many sessions share an end user, a customer and a rare word, however many sessions there are.
FOUND: Final = 20
# Different words that the turns share out among themselves, one each, and that no question names.
OTHERS: Final = 5_000

PATHS: Final = {
    "filter: agent": "?agentId={agent}",
    "filter: end user": "?endUser=u1",
    "filter: metadata": "?metadata[customer]=k1",
    "filter: status": "?status=active",
    "search: a rare word": "?q=rare1",
    "search: a word of every turn": "?q=common",
    "search: a word of no turn": "?q=never",
    "search: a rare and a common word": "?q=common rare1",
    "search: two common words": "?q=common half",
    "search: two words that never meet": "?q=half other",
    "search: a common word, agent": "?q=common&agentId={agent}",
    "search: a common word, end user": "?q=common&endUser=u1",
    "search: a common word, metadata": "?q=common&metadata[customer]=k1",
    "search: a rare word, status": "?q=rare1&status=active",
}


async def search(rig: Rig, effort: Effort) -> list[Row]:
    share = 10 if effort.quick else 1
    with MongoClient[Document](rig.mongodb_uri) as client:
        store = Store(client)
        workspaces = {count // share: await workspace_of(rig, f"bench-search-{count}") for count in (SMALL, LARGE)}
        agents = {}
        for count, workspace in workspaces.items():
            agents[count] = await workspace.new_agent(model_name(8, 0, 0))
            session = await workspace.new_session(agents[count])
            await workspace.turn(session)
            row, now = await store.one("sessions", {"_id": session}), now_ms()
            await store.add("sessions", _sessions(row, count // TURNS, now))
            turn = await store.one("turns", {"workspace": workspace.name, "sessionId": session, "n": {"$gte": 1}})
            await store.add("turns", _turns(turn, count, now))

        def asking(path: str) -> Any:
            query = path.replace(" ", "%20")
            return lambda count: workspaces[count].get("/chat/sessions" + query.format(agent=agents[count]))

        askings = {name: asking(path) for name, path in PATHS.items()}
        rows = await compared(
            "a workspace of {} turns", askings, {count: count for count in workspaces}, 3 * effort.rounds
        )
        for workspace in workspaces.values():
            workspace.close()
        return rows


def _sessions(row: Document, count: int, now: int) -> Iterator[Document]:
    """Copies of a session, one a minute; every tenth is active."""
    for number in range(count):
        group = number % max(1, count // FOUND)
        metadata = {"customer": f"k{group}", "plan": "pro"}
        yield {
            **row,
            "_id": old_id("ses", now, number + 1),
            "status": "ended" if number % 10 else "active",
            "turnCount": TURNS,
            "endUserId": f"u{group}",
            "labels": [orjson.dumps(pair).decode() for pair in metadata.items()],
            "metadata": orjson.dumps(metadata).decode(),
        }


def _turns(row: Document, count: int, now: int) -> Iterator[Document]:
    """Copies of a turn with words and without texts.

    They are small, because the stand-in all but stops once what is written to it exceeds its cache (40,000 turns with
    texts and eleven words).
    """
    gone = ("unindexed", "idempotencyKey", "retryKey", "input", "output")
    copied = {name: value for name, value in row.items() if name not in gone}
    for number in range(count):
        session, n = number // TURNS, number % TURNS + 1
        session_id = old_id("ses", now, session + 1)
        group = session % max(1, count // TURNS // FOUND)
        words = ["common", "half" if n % 2 else "other", f"w{number * 31 % OTHERS}"]
        if n == 1:
            words.append(f"rare{group}")
        yield {
            **copied,
            "_id": f"{old_id('trn', now, session + 1)[:-3]}{n:03}",
            "sessionId": session_id,
            "n": n,
            "words": words,
            "place": place_of(session_id, n),
        }
