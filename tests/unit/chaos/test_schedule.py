"""Schedules and the splitter of the chaos suite."""

import pytest

from tests.system.chaos.events import Event, Frame, History, Injected, Opened
from tests.system.chaos.schedule import KINDS, schedule
from tests.system.chaos.sse import Splitter
from tests.system.chaos.take_overs import take_overs


def test_a_seed_repeats_its_schedule_and_another_does_not() -> None:
    counts = dict.fromkeys(KINDS, 3)
    assert schedule(counts, seed=7, seconds=60) == schedule(counts, seed=7, seconds=60)
    assert schedule(counts, seed=7, seconds=60) != schedule(counts, seed=8, seconds=60)


def test_every_fault_has_its_slot_and_the_order_is_that_of_time() -> None:
    faults = schedule({"kill worker": 10, "flush redis": 2}, seed=1, seconds=100)
    times = [fault.at_s for fault in faults]
    assert times == sorted(times)
    kills = [fault.at_s for fault in faults if fault.kind == "kill worker"]
    assert [int(at_s // 10) for at_s in kills] == list(range(10))


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError):
        schedule({"kill everything": 1}, seed=1, seconds=10)


def test_frames_are_split_wherever_the_bytes_are_cut() -> None:
    raw = ': ping\n\nid: 1-1\nevent: delta\ndata: {"text":"é"}\n\ndata: [DONE]\n\n'.encode()
    for cut in range(len(raw)):
        splitter = Splitter()
        frames = [*splitter.feed(raw[:cut]), *splitter.feed(raw[cut:])]
        assert frames == [("1-1", "delta", '{"text":"é"}'), (None, "message", "[DONE]")]


def told(at: float, name: str, event: str = "delta") -> Frame:
    return Frame(at=at, view=1, id=name, event=event, data={})


def test_a_take_over_counts_from_the_kill_and_only_where_nothing_else_was_hurt() -> None:
    stream: list[Event] = [Opened(at=0.0, view=1, turn="trn_1"), told(9.9, "1-1"), told(15.0, "2-1", "restarted")]
    kill = Injected(at=8.0, until=10.0, kind="kill worker", target="worker-1")
    assert take_overs(History([kill, *stream])) == [5.0]
    assert take_overs(History([kill, Injected(at=11.0, until=12.0, kind="kill redis", target="redis"), *stream])) == []
    assert take_overs(History([kill, Injected(at=11.0, until=12.0, kind="cut pubsub", target="redis"), *stream])) == [
        5.0
    ]
    assert take_overs(History([kill, stream[0], stream[2]])) == []
