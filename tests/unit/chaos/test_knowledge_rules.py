"""The chaos rules that search the stores for what is left of knowledge, on stores made by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from services.history.knowledge.ingest_queue import TOO_OFTEN
from tests.system.chaos.events import Added, Event, History, Knowledge, Listed, Removed, Removing
from tests.system.chaos.knowledge_rules import (
    AUDITED,
    CAUSE,
    COUNTS,
    GONE,
    KEPT,
    LATE,
    LEFT,
    ONCE,
    REFUSED,
    knowledge_faults,
)

AGENT: Final = "agt_1"
KEPT_MARK, PURGED_MARK = "mark1111111111111111", "mark2222222222222222"
EVENTS: Final[tuple[Event, ...]] = (
    Added(at=0.0, agent=AGENT, source="src_kept", mark=KEPT_MARK),
    Added(at=1.0, agent=AGENT, source="src_purged", mark=PURGED_MARK),
    Removing(at=2.0, source="src_purged", purge=True),
    Removed(at=2.1, source="src_purged", purge=True, status=200, looked=404),
    Listed(agent=AGENT, sources=("src_kept",), counts={"pending": 0, "indexed": 1}),
)
SOURCE: Final[dict[str, Any]] = {
    "id": "src_kept",
    "workspace": "chaos",
    "agentId": AGENT,
    "title": KEPT_MARK,
    "state": "indexed",
    "reason": None,
    "removed": None,
    "purge": None,
    "waiting": None,
    "erasing": None,
    "attempt": 2,
    "currentAttempt": 2,
    "passageCount": 2,
    "contentKey": "text:abc",
    "unaudited": 0,
}
ENTRY: Final = {"id": "src_kept", "owner": "chaos:src_kept:2", "count": 2}
VERSION: Final[dict[str, Any]] = {
    "id": f"chaos:{AGENT}:1",
    "agent": f"chaos:{AGENT}",
    "state": "published",
    "key": "k1",
    "own": 0,
    "owner": f"chaos:{AGENT}:1",
    "count": 2,
    "sources": [ENTRY],
    "ids": ["src_kept"],
}
INDEX: Final[dict[str, Any]] = {
    "id": "chaos:k1",
    "agent": f"chaos:{AGENT}",
    "key": "k1",
    "blobs": ["chaos:idx_1"],
    "waiting": False,
    "builds": ["b1"],
}
WHOLE: Final = Knowledge(
    sources=(SOURCE,),
    versions=(VERSION,),
    indexes=(INDEX,),
    passages={"chaos:src_kept:2": (0, 1)},
    blobs={"chaos:src_kept": (268, 268), "chaos:idx_1": (4096, 4096)},
    vectors=("chaos:k1:b1",),
    audited={
        "src_kept": ("knowledge.source_added",),
        "src_purged": ("knowledge.source_added", "knowledge.source_purged"),
    },
    found=(("passages", "chaos:src_kept:2:0", KEPT_MARK), ("blobs.chunks", "chaos:idx_1", KEPT_MARK)),
)


def rules(known: Knowledge, *events: Event) -> set[str]:
    return {fault.rule for fault in knowledge_faults(History([*(events or EVENTS), known]))}


def test_stores_that_have_what_is_kept_and_nothing_of_what_was_purged_are_whole() -> None:
    assert rules(WHOLE) == set()


def test_a_run_that_did_not_look_at_the_stores_is_not_judged() -> None:
    assert list(knowledge_faults(History([*EVENTS]))) == []


LEFTOVERS: Final[dict[str, Callable[[Knowledge], Knowledge]]] = {
    "a document": lambda known: replace(known, sources=(SOURCE, {**SOURCE, "id": "src_purged", "removed": True})),
    "passages": lambda known: replace(known, passages={**known.passages, "chaos:src_purged:1": (0,)}),
    "a version's entry": lambda known: replace(known, versions=({**VERSION, "ids": ["src_kept", "src_purged"]},)),
    "a blob": lambda known: replace(known, blobs={**known.blobs, "chaos:src_purged": (9, 9)}),
    "chunks alone": lambda known: replace(known, blobs={**known.blobs, "chaos:src_purged": (None, 9)}),
    "text in an index": lambda known: replace(known, found=(("blobs.chunks", "chaos:idx_1", PURGED_MARK),)),
    "text in an audit record": lambda known: replace(known, found=(("audit", "aud_1", PURGED_MARK),)),
    "text in vectors": lambda known: replace(known, found=(("vectors", "chaos:k1:b1:0", PURGED_MARK),)),
}


@pytest.mark.parametrize("what", LEFTOVERS)
def test_what_is_left_of_a_purged_source_is_found_and_named(what: str) -> None:
    faults = list(knowledge_faults(History([*EVENTS, LEFTOVERS[what](WHOLE)])))
    assert GONE in {fault.rule for fault in faults}
    assert any("src_purged" in fault.seen for fault in faults)


UNNAMED: Final[dict[str, Callable[[Knowledge], Knowledge]]] = {
    "passages of a stale reading": lambda known: replace(known, passages={**known.passages, "chaos:src_kept:1": (0,)}),
    "an upload": lambda known: replace(known, blobs={**known.blobs, "chaos:src_other": (None, 9)}),
    "an index's file": lambda known: replace(known, blobs={**known.blobs, "chaos:idx_2": (9, 9)}),
    "an index": lambda known: replace(known, indexes=(INDEX, {**INDEX, "key": "k2", "blobs": [], "builds": []})),
    "vectors": lambda known: replace(known, vectors=("chaos:k1:b1", "chaos:k1:b2")),
}


@pytest.mark.parametrize("what", UNNAMED)
def test_what_nothing_names_is_found(what: str) -> None:
    assert rules(UNNAMED[what](WHOLE)) == {LEFT}


BROKEN: Final[dict[str, tuple[str, Callable[[Knowledge], Knowledge]]]] = {
    "a source is lost": (KEPT, lambda known: replace(known, sources=())),
    "a blob is lost": (KEPT, lambda known: replace(known, blobs={"chaos:idx_1": (4096, 4096)})),
    "a blob is not whole": (KEPT, lambda known: replace(known, blobs={**known.blobs, "chaos:src_kept": (268, 0)})),
    "a source waits": (LATE, lambda known: replace(known, sources=({**SOURCE, "state": "pending"},))),
    "an erasure waits": (LATE, lambda known: replace(known, sources=({**SOURCE, "erasing": True},))),
    "a version waits": (LATE, lambda known: replace(known, versions=({**VERSION, "state": "preparing"},))),
    "an index waits": (LATE, lambda known: replace(known, indexes=({**INDEX, "waiting": True},))),
    "a source failed": (CAUSE, lambda known: replace(known, sources=({**SOURCE, "reason": "It is damaged."},))),
    "a passage is missing": (COUNTS, lambda known: replace(known, passages={"chaos:src_kept:2": (0,)})),
    "a version counts wrong": (COUNTS, lambda known: replace(known, versions=({**VERSION, "count": 3},))),
    "a source is there twice": (ONCE, lambda known: replace(known, sources=(SOURCE, {**SOURCE, "id": "src_again"}))),
    "an entry is missing": (AUDITED, lambda known: replace(known, audited={"src_kept": ("knowledge.source_added",)})),
    "an entry waits": (AUDITED, lambda known: replace(known, sources=({**SOURCE, "unaudited": 1},))),
    "an addition is told twice": (
        AUDITED,
        lambda known: replace(known, audited={**known.audited, "src_kept": ("knowledge.source_added",) * 2}),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_lost_late_miscounted_or_unaudited_is_found(what: str) -> None:
    rule, broken = BROKEN[what]
    assert rule in rules(broken(WHOLE))


def test_a_source_whose_worker_was_killed_too_often_may_fail() -> None:
    given_up = {**SOURCE, "reason": f"Not read again: {TOO_OFTEN}"}
    assert rules(replace(WHOLE, sources=(given_up,))) == set()


def test_a_listing_that_does_not_add_up_is_found() -> None:
    for sources, count in (((), 1), (("src_kept",), 2)):
        listed = Listed(agent=AGENT, sources=sources, counts={"indexed": count})
        assert rules(WHOLE, *EVENTS[:4], listed) == {COUNTS}


def test_a_deletion_that_is_refused_or_without_effect_is_found() -> None:
    removed = EVENTS[3]
    assert isinstance(removed, Removed)
    assert rules(WHOLE, *EVENTS[:3], replace(removed, status=409), EVENTS[4]) == {REFUSED}
    assert rules(WHOLE, *EVENTS[:3], replace(removed, looked=200), EVENTS[4]) == {GONE}


def test_a_text_that_was_taken_in_again_after_its_purge_may_be_there() -> None:
    again = {**SOURCE, "id": "src_again", "title": PURGED_MARK, "contentKey": "text:def", "currentAttempt": None}
    known = replace(
        WHOLE,
        sources=(SOURCE, again),
        blobs={**WHOLE.blobs, "chaos:src_again": (268, 268)},
        found=(("blobs.chunks", "chaos:src_again", PURGED_MARK),),
    )
    listed = Listed(agent=AGENT, sources=("src_again", "src_kept"), counts={"indexed": 2})
    assert rules(known, *EVENTS[:4], listed) == set()
