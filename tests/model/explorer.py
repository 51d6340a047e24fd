"""Walks every state that the protocol can reach, breadth first: a broken invariant is found with its shortest story."""

import gc
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.model.invariants import INVARIANTS
from tests.model.protocol import PROTOCOL
from tests.model.reader import READING_ON
from tests.model.state import (
    ACTIVE,
    ALL_RULES,
    ENDED,
    Document,
    Entry,
    Frame,
    Handling,
    Queue,
    Reader,
    Request,
    Rules,
    State,
    Verdict,
    Worker,
)
from tests.model.steps import Step
from tests.model.trouble import TROUBLE


@dataclass(frozen=True, slots=True)
class Found:
    """`broken`: the invariant's name, and the steps that lead to it. Without it, everything held in so many states.

    `happened`: the names of the actions that were taken at all. `ends`: the stored ends that were reached, as (status,
    attempt).
    """

    states: int
    steps: int
    happened: frozenset[str]
    ends: frozenset[tuple[str, int]]
    broken: str | None = None
    story: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.broken is None:
            return f"everything held in {self.states} states and {self.steps} steps"
        return "\n".join([f"{self.broken} is broken ({self.states} states seen):", *self.story])


_CHECKS = tuple((State._fields.index(part), invariants) for part, invariants in INVARIANTS.items())


def explore(trouble: int, rules: Rules = ALL_RULES) -> Found:
    """All runs with up to `trouble` faults."""
    gc.disable()  # Millions of small tuples without a cycle: looking for one takes longer than the walk.
    try:
        return _explore(State(trouble), rules)
    finally:
        gc.enable()


class _Walk:
    """The states seen so far, how each was reached first, and all steps between them."""

    def __init__(self, first: State) -> None:
        self.states = [first]
        self.numbers = {first: 0}
        self.parents = [-1]
        self.names = [""]
        self.sources, self.targets = array("i"), array("i")
        self.happened: set[str] = set()

    def add(self, source: int, name: str, after: State) -> None:
        target = self.numbers.setdefault(after, len(self.states))
        if target == len(self.states):
            self.states.append(after)
            self.parents.append(source)
            self.names.append(name)
        self.sources.append(source)
        self.targets.append(target)
        self.happened.add(name)

    def found(self, broken: str | None = None, story: Sequence[str] = ()) -> Found:
        ends = frozenset((s.document.status, s.document.attempt) for s in self.states if s.document.status != ACTIVE)
        return Found(len(self.states), len(self.sources), frozenset(self.happened), ends, broken, tuple(story))

    def story(self, number: int) -> list[str]:
        """How a state was reached, on the shortest way."""
        lines: list[str] = []
        while number:
            parent = self.parents[number]
            lines.append(_line(self.names[number], self.states[parent], self.states[number]))
            number = parent
        return lines[::-1]

    def stuck(self) -> int | None:
        """The first state from which no run leads to a stored end that the client knows."""
        comes_from: list[list[int]] = [[] for _ in self.states]
        for source, target in zip(self.sources, self.targets, strict=True):
            comes_from[target].append(source)
        frontier = [
            number for number, s in enumerate(self.states) if s.document.status != ACTIVE and s.reader.step == ENDED
        ]
        reached = bytearray(len(self.states))
        for number in frontier:
            reached[number] = 1
        while frontier:
            for source in comes_from[frontier.pop()]:
                if not reached[source]:
                    reached[source] = 1
                    frontier.append(source)
        stuck = reached.find(0)
        return None if stuck == -1 else stuck


def _explore(first: State, rules: Rules) -> Found:
    walk = _Walk(first)
    for number, before in enumerate(walk.states):  # The list grows while it is walked.
        for name, (after, told) in _steps(before, rules):
            walk.add(number, name, after)
            broken = _broken(before, told, after)
            if broken is not None:
                return walk.found(broken, [*walk.story(number), _line(name, before, after)])
    stuck = walk.stuck()
    if stuck is not None:
        return walk.found("every_accepted_turn_can_still_end", walk.story(stuck))
    return walk.found()


def _broken(before: State, told: Sequence[Frame], after: State) -> str | None:
    for part, invariants in _CHECKS:
        if after[part] is not before[part]:
            for invariant in invariants:
                if not invariant(before, told, after):
                    return invariant.__name__
    return None


def _steps(s: State, rules: Rules) -> Iterator[tuple[str, Step]]:
    """All that can happen next.

    Nobody depends on the reader: once it has its end, the others go on in the runs where it is still away.
    """
    if s.reader.step == ENDED:
        return
    for action in (*PROTOCOL, *READING_ON):
        for step in action(s, rules):
            yield action.__name__, step
    if s.trouble:
        worse = s._replace(trouble=s.trouble - 1)
        for action in TROUBLE:
            for step in action(worse, rules):
                yield action.__name__, step


def _line(name: str, before: State, after: State) -> str:
    """The action and what it changed."""
    changed = [
        field for field, old, new in zip(State._fields, before, after, strict=True) if old != new and field != "trouble"
    ]
    return f"{name:<24}{'; '.join(_change(field, getattr(before, field), getattr(after, field)) for field in changed)}"


def _change(field: str, old: object, new: object) -> str:
    if isinstance(old, Document | Queue | Reader) and isinstance(new, Document | Queue | Reader):
        parts = [
            f"{part} {_shown(value)}" for part, was, value in zip(new._fields, old, new, strict=True) if was != value
        ]
        return f"{field}: {', '.join(parts)}"
    return f"{field}: {_shown(new)}"


def _shown(value: object) -> str:
    """Short, for people: a frame as its id and word, the others without what is usual."""
    if isinstance(value, Frame):
        return " ".join([f"{value.attempt}-{value.seq}", value.event, *map(str, value.text)])
    if isinstance(value, Worker | Request | Handling | Verdict | Entry):
        usual = value._field_defaults
        parts = [
            f"{part} {_shown(content)}"
            for part, content in zip(value._fields, value, strict=True)
            if usual.get(part) != content
        ]
        return f"({', '.join(parts)})"
    if isinstance(value, tuple):
        return "[" + " | ".join(map(_shown, value)) + "]"
    return str(value)
