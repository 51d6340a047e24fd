"""Pure: compares the events that the workspace's webhook was told with the sessions and turns that are stored."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from tests.system.chaos.events import Kept, Stored, Told, Untold

LOST: Final = "no event is lost"
# In the store, on its way: slow, and not lost.
LATE: Final = "events are told in time"
ORDER: Final = "events of a session in order"
ONE_ID: Final = "one id per event"
SIGNED: Final = "events are signed"
TRUE: Final = "events tell what is stored"
_END: Final = 10**9


class Fault(NamedTuple):
    rule: str
    turn: str
    seen: str


class Subject(NamedTuple):
    """What an event is about: there is one of each type for it."""

    type: str
    id: str


def told_faults(
    kept: Sequence[Kept], stored: Sequence[Stored], told: Sequence[Told], untold: Sequence[Untold]
) -> Iterator[Fault]:
    """`kept` and `stored`: what nobody wanted deleted. `told` is in the order of arrival."""
    first: dict[str, Told] = {}
    for each in told:
        first.setdefault(each.event, each)
        if not each.verified:
            yield Fault(SIGNED, each.turn, f"{each.event} ({each.type}) has no valid signature")
    yield from _missing(_wanted(kept, stored), list(first.values()), untold)
    yield from _ids(list(first.values()))
    yield from _order(stored, list(first.values()))
    yield from _statuses(stored, list(first.values()))


def _wanted(kept: Sequence[Kept], stored: Sequence[Stored]) -> dict[Subject, str]:
    """With the turn of each."""
    wanted = {Subject("session.created", each.session): "" for each in kept}
    wanted |= {Subject("session.ended", each.session): "" for each in kept if each.status == "ended"}
    return wanted | {Subject(_type(each), each.turn): each.turn for each in stored}


def _type(turn: Stored) -> str:
    return "turn.failed" if turn.status == "failed" else "turn.completed"


def _subject(told: Told) -> Subject:
    return Subject(told.type, told.turn or told.session)


def _missing(wanted: dict[Subject, str], first: Sequence[Told], untold: Sequence[Untold]) -> Iterator[Fault]:
    heard, waiting = {_subject(each) for each in first}, {each.subject for each in untold}
    for subject in wanted.keys() - heard:
        if subject.id in waiting:
            yield Fault(LATE, wanted[subject], f"{subject.type} of {subject.id} still waits")
        else:
            yield Fault(LOST, wanted[subject], f"{subject.type} of {subject.id} was never told, and nothing waits")


def _ids(first: Sequence[Told]) -> Iterator[Fault]:
    ids: defaultdict[Subject, list[str]] = defaultdict(list)
    for each in first:
        if each.turn or each.session:
            ids[_subject(each)].append(each.event)
    for subject, found in ids.items():
        if len(found) > 1:
            yield Fault(ONE_ID, "", f"{subject.type} of {subject.id} was told as {found}")


def _order(stored: Sequence[Stored], first: Sequence[Told]) -> Iterator[Fault]:
    """Of the first arrivals: creation, turns by number, end. Whoever repeats an event may do so at any time."""
    numbers = {each.turn: each.n for each in stored}
    arrived: defaultdict[str, list[Told]] = defaultdict(list)
    for each in first:
        if each.session and (not each.turn or each.turn in numbers):
            arrived[each.session].append(each)
    for session, events in arrived.items():
        places = [_place(each, numbers) for each in events]
        if places != sorted(places):
            seen = [f"{each.type} {each.turn} at {each.at:.1f} s" for each in events]
            yield Fault(ORDER, "", f"{session}: {seen}")


def _place(told: Told, numbers: dict[str, int]) -> int:
    return {"session.created": 0, "session.ended": _END}.get(told.type, numbers.get(told.turn, 0))


def _statuses(stored: Sequence[Stored], first: Sequence[Told]) -> Iterator[Fault]:
    turns = {each.turn: each for each in stored}
    for each in first:
        turn = turns.get(each.turn)
        if turn is not None and (each.type, each.status) != (_type(turn), turn.status):
            yield Fault(TRUE, each.turn, f"told {each.type} {each.status}, stored is {turn.status}")
