"""The search of transcripts: sessions with a turn that has all the words, newest first or oldest first.

Each word has the index `transcript_words`, ordered by session. What is rarest of the words and the filters is read in
that order, and the rest is compared. A page reads a bounded number of turns: it may then have fewer sessions than were
asked for, or none, and a position to continue from.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.dialect import Direction, IdField
from services.history.mongo.filters import Document, Where, between, one_of
from services.history.sessions.filters import SessionFilters
from services.history.sessions.sessions import SESSION_IDS, Sessions
from shared.contracts.sessions import Session
from shared.ids import is_id, time_of

PLACES: Final = IdField("place", "ses")
# How many of something are looked at to learn how rare it is.
PROBE: Final = 64
# The longest words are the rarest, as a rule; only these are compared with each other.
MAX_PROBED: Final = 4
READ: Final = 200
# Turns, or sessions, that one page reads at most.
MAX_READ: Final = 2_000
MAX_SESSIONS: Final = 200
SESSIONS_PER_READ: Final = 50
_ID_LENGTH: Final = 30
# What `place_of` writes behind the id of a session.
_TURN: Final = re.compile(r"(\.[0-9]{10})?")

Batches = AsyncGenerator[tuple[list[Document], str | None], None]
"""Sessions that were found, and the position behind what was read for them. None: there is nothing more to read."""


class Asked(NamedTuple):
    """`after`: the id of a session, or the place of a turn in it."""

    workspace: str
    words: Sequence[str]
    filters: SessionFilters
    direction: Direction
    after: str | None

    def having(self, word: str) -> Where:
        return {"workspace": self.workspace, "words": word}

    def sessions(self) -> Where:
        return self.filters.where(self.workspace)


def is_position(text: str) -> bool:
    return is_id("ses", text[:_ID_LENGTH]) and _TURN.fullmatch(text[_ID_LENGTH:]) is not None


class TranscriptSearch:
    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._turns = database.turns
        self._rows = database.sessions
        self._sessions = sessions

    async def page(self, asked: Asked, limit: int) -> tuple[list[Session], str | None]:
        """Up to `limit` sessions, and the position to continue from."""
        found: list[Document] = []
        following: str | None = None
        async with aclosing(await self._batches(asked)) as batches:
            async for rows, following in batches:
                found += rows
                if len(found) > limit:
                    found, following = found[:limit], found[limit - 1]["_id"]
                    break
        return await self._sessions.shown(asked.workspace, found), following

    async def _batches(self, asked: Asked) -> Batches:
        probed = sorted(asked.words, key=len, reverse=True)[:MAX_PROBED]
        is_filtered = asked.filters.narrows
        word, by_filters = probed[0], False
        if len(probed) > 1 or is_filtered:
            rarities = await asyncio.gather(
                *(self._rarity(asked, self._turns, asked.having(word), PLACES) for word in probed),
                *([self._rarity(asked, self._rows, asked.sessions(), SESSION_IDS)] if is_filtered else []),
            )
            word = probed[min(range(len(probed)), key=rarities.__getitem__)]
            by_filters = is_filtered and rarities[-1] <= min(rarities[:-1])
        return self._by_filters(asked, word) if by_filters else self._by_word(asked, word)

    async def _rarity(self, asked: Asked, collection: Collection, where: Where, by: IdField) -> tuple[bool, int]:
        """Sorts the rarest first: few altogether, or else reaching far in time before `PROBE` are found."""
        after, low, high = _bounds(asked, by)
        rows, following = await collection.page(
            where, by, asked.direction, after, PROBE, {by.name: 1}, low=low, high=high
        )
        if following is None:
            return False, len(rows)
        return True, time_of(following) if asked.direction == "desc" else -time_of(following)

    # --- along the turns that have a word

    async def _by_word(self, asked: Asked, word: str) -> Batches:
        after, low, high = _bounds(asked, PLACES)
        seen, found, read = set[str](), set[str](), 0
        fields = {"sessionId": 1, "place": 1, "agentId": 1, "agentVersion": 1}
        if len(asked.words) > 1:
            fields["words"] = 1
        while True:
            rows, after = await self._turns.page(
                asked.having(word), PLACES, asked.direction, after, READ, fields, low=low, high=high
            )
            read += len(rows)
            ids = [one for one in dict.fromkeys(_matching(asked, rows)) if one not in seen]
            seen.update(ids)
            for at in range(0, len(ids), SESSIONS_PER_READ):
                sessions = await self._of(asked, ids[at : at + SESSIONS_PER_READ])
                found.update(session["_id"] for session in sessions)
                yield sessions, after
            if after is None or read >= MAX_READ:
                break
        if after is not None and after[:_ID_LENGTH] in found:
            after = after[:_ID_LENGTH]  # The rest of this session would show it again.
        yield [], after

    async def _of(self, asked: Asked, ids: Sequence[str]) -> list[Document]:
        """Those of the sessions that the filters let through, in the order of `ids`."""
        # By the ids alone: beside a status a server may choose the index of that, and read all sessions.
        rows = await self._rows.many({"_id": one_of(ids)})
        by_id = {row["_id"]: row for row in rows if asked.filters.admit(asked.workspace, row)}
        return [by_id[one] for one in ids if one in by_id]

    # --- along the sessions that the filters let through

    async def _by_filters(self, asked: Asked, word: str) -> Batches:
        after, low, high = _bounds(asked, SESSION_IDS)
        read = 0
        while True:
            rows, after = await self._rows.page(
                asked.sessions(), SESSION_IDS, asked.direction, after, SESSIONS_PER_READ, low=low, high=high
            )
            said = await asyncio.gather(*(self._says(asked, word, row["_id"]) for row in rows))
            yield [row for row, is_said in zip(rows, said, strict=True) if is_said], after
            read += len(rows)
            if after is None or read >= MAX_SESSIONS:
                return

    async def _says(self, asked: Asked, word: str, session_id: str) -> bool:
        """Whether a turn of the session has all the words."""
        low, high, after = f"{session_id}.", f"{session_id}/", None
        fields = {"place": 1, "words": 1, "sessionId": 1}
        while True:
            if len(asked.words) == 1:
                where = {**asked.having(word), "place": between(low, high)}
                return bool(await self._turns.many(where, fields={"place": 1}, limit=1))
            rows, after = await self._turns.page(
                asked.having(word), PLACES, "asc", after, READ, fields, low=low, high=high
            )
            if any(set(asked.words) <= set(row["words"]) for row in rows):
                return True
            if after is None:
                return False


def _matching(asked: Asked, rows: Iterable[Document]) -> Iterable[str]:
    """The sessions of the turns that have all the words, and the agent's version that is asked for."""
    words, filters = set(asked.words), asked.filters
    for row in rows:
        if len(words) > 1 and not words <= set(row["words"]):
            continue
        if filters.agent_id in (None, row["agentId"]) and filters.agent_version in (None, row["agentVersion"]):
            yield row["sessionId"]


def _bounds(asked: Asked, by: IdField) -> tuple[str | None, str | None, str | None]:
    """`after`, `low` and `high` of a page by places or by sessions."""
    low, high = asked.filters.bounds()
    after = asked.after
    if after is None or asked.direction == "desc":
        return after, low, high
    if by is PLACES:
        # A session's id: behind all of its turns.
        return after if len(after) > _ID_LENGTH else after + "/", low, high
    if len(after) > _ID_LENGTH:  # The rest of this session was not read yet.
        return None, max(low or "", after[:_ID_LENGTH]), high
    return after, low, high
