"""A deployment without the search of transcripts: nothing is stored for it, and all is found once it is switched on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from services.history.mongo import backfill
from services.history.settings import HistorySettings
from shared.contracts.errors import ApiError, Code
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, running, settings_for
from tests.service.history.sessions.test_search import found


@pytest.fixture
def settings(mongodb_uri: str, redis_url: str) -> HistorySettings:
    return settings_for(mongodb_uri, redis_url, transcript_search=False)


@asynccontextmanager
async def started(settings: HistorySettings, **members: Any) -> AsyncIterator[History]:
    async with running(settings.model_copy(update=members)) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        yield history


async def test_a_turn_that_ends_without_the_search_has_no_words_and_no_mark(settings: HistorySettings) -> None:
    async with started(settings) as history:
        await history.publish()
        session = await history.session()
        answered = await history.answer(session, "A question?", "An answer.")
        cancelled = (await history.admit(session, "Forget this")).turn.id
        await history.client.cancel(WORKSPACE, cancelled)
        for turn in (answered, cancelled):
            row = await history.document(turn)
            assert not row["active"]
            assert not {"words", "place", "unindexed"} & row.keys()
        assert "transcript_words" not in await history.documents.turns.index_information()


async def test_a_search_is_refused_by_an_error_that_says_what_to_do(settings: HistorySettings) -> None:
    async with started(settings) as history:
        with pytest.raises(ApiError) as raised:
            await history.client.sessions(WORKSPACE, [("q", "word")])
        assert raised.value.code is Code.INVALID_REQUEST
        assert raised.value.param == "q"
        assert "PARLEY_TRANSCRIPT_SEARCH" in raised.value.detail
        assert "items" in await history.client.sessions(WORKSPACE, [("status", "active")])


async def test_what_ended_while_the_search_was_off_is_found_once_it_is_on(
    mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after on, off and on again: the walk of the first time is done, and must begin anew."""
    monkeypatch.setattr(backfill, "YOUNG_MS", -60_000)
    settings = settings_for(mongodb_uri, redis_url)
    async with started(settings) as history:
        await history.publish()
        first = await history.session()
        await history.answer(first, "The first question?", "An answer.")
        # The walk is long done: it found nothing to do, or ended an hour after its beginning.
        done = {"_id": "searched_turns", "untilMs": int(datetime.now(UTC).timestamp() * 1000), "done": True}
        await history.documents.backfills.replace_one({"_id": "searched_turns"}, done, upsert=True)
    async with started(settings, transcript_search=False) as history:
        assert await history.documents.backfills.find_one({"_id": "searched_turns"}) is None
        second = await history.session()
        await history.answer(second, "The second question?", "An answer.")
    async with started(settings) as history:
        third = await history.session()
        await history.answer(third, "The third question?", "An answer.")

        async def all_found() -> bool:
            return await found(history, "question") == [third, second, first]

        await eventually(all_found, within_s=20.0, what="the turn that ended while the search was off")
        rows = await history.documents.turns.find({"workspace": WORKSPACE}).to_list(None)
        assert not [row for row in rows if "unindexed" in row or "place" not in row]
