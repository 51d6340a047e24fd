from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.agent_worker.model import sse
from services.agent_worker.model.sse import EventSplitter, EventTooLong

STREAM = (
    b": a comment\r\n\r\n"
    b'event: message\ndata: {"a":1}\n\n'
    b"data:no space\r\rid: 7\rdata: two\r\ndata:  lines\r\n\r\n"
    + "data: crème 🍕 \u2028 日本\n\n".encode()
    + b"retry: 5\n\n\n\ndata\n\ndata: [DONE]\n\n"
)
EVENTS = [b'{"a":1}', b"no space", b"two\n lines", "crème 🍕 \u2028 日本".encode(), b"[DONE]"]


def split(pieces: list[bytes]) -> list[bytes]:
    splitter = EventSplitter()
    return [event for piece in pieces for event in splitter.feed(piece)]


def test_every_cut_in_two_gives_the_same_events() -> None:
    for at in range(len(STREAM) + 1):
        assert split([STREAM[:at], STREAM[at:]]) == EVENTS, at


def test_single_bytes_give_the_same_events() -> None:
    assert split([bytes([byte]) for byte in STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cuts_give_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert split([STREAM[start:end] for start, end in pairwise(edges)]) == EVENTS


@given(st.binary(max_size=200), st.integers(0, 200))
def test_noise_gives_the_same_events_however_it_is_cut(noise: bytes, at: int) -> None:
    assert split([noise[:at], noise[at:]]) == split([noise])


def test_an_event_without_its_empty_line_is_whole_at_the_end() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: last") == []
    assert splitter.rest() == [b"last"]


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT", 1000)
    with pytest.raises(EventTooLong):
        split([b"x" * 100] * 20)
    with pytest.raises(EventTooLong):
        split([b"data: " + b"x" * 100 + b"\n"] * 20)
    assert len(split([b"data: " + b"x" * 400 + b"\n\n"] * 20)) == 20
