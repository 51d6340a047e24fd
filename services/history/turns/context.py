"""The context of a turn: the messages of its session's earlier turns.

An ended turn never changes, so they are cached.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson
from cachetools import TTLCache

from services.history.mongo.client import Database
from services.history.mongo.filters import Comparison, Document, between, one_of
from services.history.turns.branches import Ranges, shown_below
from services.history.turns.checked_input import earlier_row
from services.history.turns.token_rates import ModelKey, TokenRates
from shared.contracts.agents import Limits
from shared.contracts.sessions import Message, without_markers
from shared.contracts.turns import Usage
from shared.tokens import message_tokens

KEPT_BYTES: Final = 64 << 20
KEPT_S: Final = 600.0
# Bytes that a cached turn and a cached session take beside their text.
OVERHEAD: Final = 300
_FIELDS: Final = {"n": 1, "active": 1, "status": 1, "input": 1, "output": 1, "checkedInput": 1}

Wire = Mapping[str, Any]
_SHOWN: Final = frozenset(field.alias or name for name, field in Message.model_fields.items())


class EarlierTurn(NamedTuple):
    """A turn as a model gets it: its messages as JSON, joined by commas, and an estimate of their tokens.

    Empty for a turn that failed: its question has no answer, and is usually asked again by the next turn.
    """

    messages: bytes
    tokens: int


class _Kept(NamedTuple):
    """The last turns of a session that this process has read.

    `width`: how many of them the last claim asked for. `model`: which one answers it, where that is certain.
    """

    turns: dict[int, EarlierTurn]
    width: int
    model: ModelKey | None

    @property
    def size(self) -> int:
        return OVERHEAD + sum(OVERHEAD + len(turn.messages) for turn in self.turns.values())


class Contexts:
    """Reads turns that are not cached. The cache is bounded in bytes, and drops unused sessions after minutes.

    `clock`: seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        kept_bytes: int = KEPT_BYTES,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = database.turns
        self._rates = TokenRates()
        self._kept = TTLCache[tuple[str, str], _Kept](kept_bytes, kept_s, timer=clock, getsizeof=lambda kept: kept.size)

    async def before(
        self,
        workspace: str,
        session_id: str | None,
        number: int,
        limits: Limits,
        model: ModelKey | None = None,
        *,
        guards_input: bool = False,
        hidden: Ranges = (),
    ) -> bytes:
        """A JSON list of the messages of the turns before this one, oldest first.

        A turn without a session has no context. It contains whole turns: as many of the last `context_turns` as fit
        into `context_tokens`, as `model` counts them. All of them must have ended, which holds for the turns before a
        session's active turn. `guards_input`: the agent has guardrails for what users say. `hidden`: the numbers of the
        turns that are not on this one's branch.
        """
        if session_id is None:
            return b"[]"
        wanted = _wanted(number, limits.context_turns, hidden)
        kept = self._kept.get((workspace, session_id))
        turns = dict(kept.turns) if kept is not None else {}
        missing = next((n for n in wanted if n not in turns), None)
        if missing is not None:
            numbers = one_of([n for n in wanted if n >= missing]) if hidden else between(missing, number)
            turns.update(await self._read(workspace, session_id, numbers, guards_input=guards_input))
        turns = {n: turns[n] for n in wanted if n in turns}
        self._keep(workspace, session_id, _Kept(turns, limits.context_turns, model))
        room = int(limits.context_tokens / self._rates.factor(model))
        return b"[" + b",".join(_fitting(turns, room)) + b"]"

    async def _read(
        self, workspace: str, session_id: str, numbers: Comparison, *, guards_input: bool
    ) -> dict[int, EarlierTurn]:
        where = {"workspace": workspace, "sessionId": session_id, "n": numbers}
        return {
            row["n"]: _earlier_turn(status, (*said, *row.get("output", ())))
            for row in await self._turns.many(where, fields=_FIELDS)
            if not row["active"]
            for status, said in (earlier_row(row, guards_input=guards_input),)
        }

    def add(
        self,
        workspace: str,
        session_id: str,
        number: int,
        status: str,
        messages: Sequence[Wire],
        usage: Usage | None = None,
    ) -> None:
        """Caches a turn whose end was just stored, if this process has answered a claim of its session before."""
        if (kept := self._kept.get((workspace, session_id))) is None:
            return
        if kept.model is not None and usage is not None and status == "completed":
            self._rates.observe(kept.model, messages, usage)
        turns = {**kept.turns, number: _earlier_turn(status, messages)}
        last = {n: turns[n] for n in sorted(turns, reverse=True)[: kept.width]}
        self._keep(workspace, session_id, kept._replace(turns=last))

    def forget(self, workspace: str, session_id: str) -> None:
        self._kept.pop((workspace, session_id), None)

    def _keep(self, workspace: str, session_id: str, kept: _Kept) -> None:
        """Storing it again starts its time anew."""
        self.forget(workspace, session_id)
        if kept.size <= self._kept.maxsize:
            self._kept[workspace, session_id] = kept


def _wanted(number: int, count: int, hidden: Ranges) -> Sequence[int]:
    """The numbers of the last `count` turns before `number` on its branch, upwards."""
    if not hidden:
        return range(max(1, number - count), number)
    return sorted(islice(shown_below(hidden, number), count))


def _earlier_turn(status: str, messages: Iterable[Wire]) -> EarlierTurn:
    if status == "failed":
        return EarlierTurn(b"", 0)
    # Passages that were retrieved for an earlier turn are not shown again.
    shown = [_shown(message) for message in messages]
    return EarlierTurn(orjson.dumps(shown)[1:-1], sum(map(_tokens, shown)))


def _shown(message: Wire) -> Document:
    """Without the markers of its citations: in the next turn the same numbers name other passages."""
    shown = {name: value for name, value in message.items() if name in _SHOWN}
    if places := [(citation["start"], citation["end"]) for citation in message.get("citations") or ()]:
        shown["content"] = without_markers(shown["content"], places)
    return shown


def _fitting(turns: dict[int, EarlierTurn], room: int) -> list[bytes]:
    """The last of them that fit, oldest first."""
    chosen: list[bytes] = []
    for n in sorted(turns, reverse=True):
        room -= turns[n].tokens
        if room < 0:
            break
        if turns[n].messages:
            chosen.append(turns[n].messages)
    return chosen[::-1]


def _tokens(message: Wire) -> int:
    calls: Sequence[Document] = message.get("toolCalls") or ()
    called = [text for call in calls for text in (call["name"], call["arguments"])]
    return message_tokens((message.get("content") or "", *called))
