"""Which of the stream Redises holds a turn's log and channel.

A URL of the list may say from when and until when new turns are put there: `redis://c:6379/0#since=2026-12-01T10:00:00Z`,
`#until=…`, or both with `&`. A turn is placed by the time in its id, among the servers that took turns at that time. So
processes with the list of before and processes with the new one agree on every turn that began before the time that the
new list names, and a turn never moves. Every process must have the new list by that time.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qsl
from zlib import crc32

from shared.ids import time_of

ShardState = Literal["active", "planned", "draining"]
SHARD_STATES: Final[tuple[ShardState, ...]] = ("active", "planned", "draining")
_MEMBERS: Final = ("since", "until")
_EVER: Final = 1 << 62


class Shard(NamedTuple):
    """A server, and the time in which new turns are put there, in milliseconds since 1970: from `since`, before
    `until`.
    """

    url: str
    since: int = 0
    until: int = _EVER

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Raises ValueError with a text that says what is wrong and shows nothing of the URL."""
        url, _, fragment = text.partition("#")
        members = dict(parse_qsl(fragment, keep_blank_values=True))
        if bool(fragment) > bool(members) or any(name not in _MEMBERS for name in members):
            raise ValueError("may have only since=TIME and until=TIME after its #")
        times = {name: _milliseconds(name, value) for name, value in members.items()}
        shard = cls(url, **times)
        if shard.since >= shard.until:
            raise ValueError("must have a time after #since= that is before the one after until=")
        return shard


class ShardChange(NamedTuple):
    """A time of the list: from `at_ms` on, the server at place `number` (from 0) takes turns, or takes none any more.

    `name` is the same in every process, and holds no credentials.
    """

    number: int
    member: str
    at_ms: int
    name: str


def _milliseconds(name: str, text: str) -> int:
    try:
        time = datetime.fromisoformat(text.replace(" ", "+"))  # A plus of an offset is a space in a query.
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"must have a time with an offset after #{name}=, such as 2026-12-01T10:00:00Z")
    return int(time.timestamp() * 1000)


class Shards:
    """The list as it was given. Every process must be given the same one, in the same order.

    Raises ValueError as `Shard.parse`, and for a first URL with a time: all notices go through that server.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._shards = [Shard.parse(text) for text in texts]
        if self._shards[0] != Shard(self._shards[0].url):
            raise ValueError("must begin with a URL without #since= and #until=")
        self._changes = sorted({time for shard in self._shards for time in shard[1:] if 0 < time < _EVER})
        self._taking = [self._at(time) for time in (0, *self._changes)]

    @property
    def urls(self) -> tuple[str, ...]:
        """Of all servers, also of those that take no turns yet or no more."""
        return tuple(shard.url for shard in self._shards)

    @property
    def times(self) -> tuple[ShardChange, ...]:
        """As they were given, in the order of the list."""
        return tuple(
            ShardChange(number, member, at_ms, f"{shard.url.rpartition('@')[2]} {member} {at_ms}")
            for number, shard in enumerate(self._shards)
            for member, at_ms in (("since", shard.since), ("until", shard.until))
            if 0 < at_ms < _EVER
        )

    def of(self, any_id: str) -> int:
        """The index of the server of a turn, or of whatever else has an id."""
        taking = self._taking[bisect_right(self._changes, _made_at(any_id)) if self._changes else 0]
        return taking[crc32(any_id.encode()) % len(taking)]

    def states(self, now_ms: int) -> dict[ShardState, int]:
        """How many take turns, will later (`planned`), or did before (`draining`)."""
        planned = sum(shard.since > now_ms for shard in self._shards)
        draining = sum(shard.until <= now_ms for shard in self._shards)
        return {"active": len(self._shards) - planned - draining, "planned": planned, "draining": draining}

    def _at(self, time: int) -> list[int]:
        return [number for number, shard in enumerate(self._shards) if shard.since <= time < shard.until]


def _made_at(any_id: str) -> int:
    try:
        return time_of(any_id)
    except ValueError:  # Not an id, so there is no such turn.
        return 0
