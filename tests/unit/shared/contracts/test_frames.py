import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.frames import (
    BEGINNING,
    TERMINAL_EVENTS,
    FrameId,
    StreamFrame,
    continues,
    data_of,
    decode,
    decode_v1,
    delta_text,
    encode,
    event_of,
    head_of,
    id_text,
    is_terminal,
    json_line,
    published_delta,
    stream_frame,
)

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def test_the_id_is_the_last_line_of_a_frame() -> None:
    assert encode("delta", {"text": "x"}, FrameId(1, 5)) == b'event: delta\ndata: {"text":"x"}\nid: 1-5\n\n'
    assert encode("queued", {}) == b"event: queued\ndata: {}\n\n"


@given(ANY_TEXT, st.integers(1, 9_999_999_999), st.integers(1, 9_999_999_999))
def test_a_frame_is_read_as_it_was_written(text: str, attempt: int, seq: int) -> None:
    frame_id = FrameId(attempt, seq)
    frame = encode("delta", {"text": text}, frame_id)
    assert decode(frame) == StreamFrame(frame_id, frame)
    assert (head_of(frame), data_of(frame)) == ((frame_id, "delta"), {"text": text})
    assert (delta_text(frame), id_text(frame)) == (json_line(text), str(frame_id).encode())
    assert published_delta(frame) == (delta_text(frame), id_text(frame))
    assert len(frame.decode().splitlines()) == 4


@pytest.mark.parametrize("event", ["started", "tool_call", "done", "error", "restarted", "deltas"])
def test_only_a_delta_has_text(event: str) -> None:
    frame = encode(event, {"text": "x"}, FrameId(1, 1))
    assert delta_text(frame) is None
    assert published_delta(frame) is None


@pytest.mark.parametrize("event", sorted(TERMINAL_EVENTS))
def test_a_terminal_frame_ends_the_stream_and_continues_nothing(event: str) -> None:
    frame = encode(event, {}, FrameId(1, 2))
    assert is_terminal(frame)
    assert stream_frame(event, {}).is_terminal
    assert not continues(frame, FrameId(1, 1))


def test_a_frame_continues_only_the_one_directly_before_it() -> None:
    frame = encode("delta", {"text": "x"}, FrameId(1, 44))
    assert continues(frame, FrameId(1, 43))
    for position in (BEGINNING, FrameId(1, 3), FrameId(1, 42), FrameId(1, 44), FrameId(2, 43), FrameId(11, 43)):
        assert not continues(frame, position)


def test_text_that_looks_like_an_id_line_is_not_taken_for_one() -> None:
    frame = encode("delta", {"text": "\nid: 7-7\n\n"}, FrameId(1, 2))
    assert head_of(frame)[0] == FrameId(1, 2)
    assert head_of(encode("delta", {"text": "\nid: 7-7\n\n"})) == (None, "delta")
    assert not continues(frame, FrameId(7, 6))


@pytest.mark.parametrize(
    "frame", [b"", b"id: 1-1\nevent: delta\ndata: {}\n\n", b"event: delta\ndata: {}\n\n", b"\nid: x\n\n"]
)
def test_bytes_that_do_not_end_with_an_id_are_refused(frame: bytes) -> None:
    with pytest.raises(ValueError):
        decode(frame)


def test_an_entry_of_version_1_becomes_the_frame_of_today() -> None:
    assert decode_v1(b'event: delta\ndata: {"text":"x"}\n\n', FrameId(2, 3)).data == encode(
        "delta", {"text": "x"}, FrameId(2, 3)
    )


@pytest.mark.parametrize("text", ["", "1", "0-1", "1-0", "01-1", "1-1 ", "-1-1", "1-1-1", "1-12345678901", "१-1"])
def test_only_the_canonical_form_of_an_id_is_taken(text: str) -> None:
    with pytest.raises(ValueError):
        FrameId.parse(text)


def test_ids_compare_as_the_log_orders_them() -> None:
    assert sorted([FrameId(2, 1), FrameId(1, 10), FrameId(1, 9)]) == [FrameId(1, 9), FrameId(1, 10), FrameId(2, 1)]
    assert FrameId(1, 1).follows(BEGINNING)
    assert not FrameId(2, 1).follows(BEGINNING)
    assert not FrameId(2, 1).follows(FrameId(1, 9))


def test_the_events_name_is_read_without_the_data() -> None:
    assert event_of(b"event: done\nno data at all") == "done"
