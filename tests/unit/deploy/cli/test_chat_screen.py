import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cli.chat_screen import RESTARTED, PlainScreen, TurnScreen, rows_of
from deploy.cli.sse import Frame, FrameReader
from tests.system.cli.screen import Screen


def done(text: str, **members: Any) -> Frame:
    messages = [{"role": "assistant", "content": text}]
    return Frame("done", {"status": "completed", "finishReason": "stop", "messages": messages, **members})


def delta(text: str) -> Frame:
    return Frame("delta", {"text": text})


RESTART = Frame("restarted", {"attempt": 2, "reason": "worker_lost"})


def seen(*frames: Frame, columns: int = 20, rows: int = 10, before: str = "> hi\n") -> str:
    out, screen = io.StringIO(), Screen(columns, rows)
    turn = TurnScreen(out, lambda: (columns, rows))
    for frame in frames:
        turn.show(frame)
    # The terminal makes \r\n of \n.
    screen.feed((before + out.getvalue()).replace("\n", "\r\n"))
    return screen.text.rstrip("\n")


def test_the_text_stands_as_it_came_and_ends_its_line() -> None:
    assert seen(delta("Hello "), delta("there"), done("Hello there")) == "> hi\nHello there"


def test_a_void_answer_is_wiped_to_its_first_character() -> None:
    long = "one two three four five six seven eight "
    assert seen(delta(long), RESTART, delta("new"), done("new")) == "> hi\nnew"


TEXTS = st.text(alphabet=st.sampled_from("ab 日本\n👍é"), max_size=80)


@given(TEXTS, TEXTS)
def test_whatever_was_shown_is_wiped_and_nothing_above_it(first: str, second: str) -> None:
    frames = (delta(first), RESTART, delta(second), done(second))
    assert seen(*frames, rows=90) == seen(delta(second), done(second), rows=90)


def test_what_does_not_fit_on_the_screen_any_more_is_declared_void() -> None:
    text = "\n".join(f"line {number}" for number in range(30))
    shown = seen(delta(text), RESTART, delta("new"), done("new"), columns=80)
    assert shown.endswith(f"line 29\n{RESTARTED}\nnew")


def test_the_stored_answer_replaces_another_that_was_shown() -> None:
    shown = seen(delta("a secret"), done("[removed]"))
    assert shown == "> hi\n[removed]"


def test_a_cancelled_turn_says_so() -> None:
    assert seen(delta("half"), done("half", status="cancelled", finishReason="cancelled")) == "> hi\nhalf\n  cancelled"


def test_what_an_answer_cites_is_listed_once_below_it() -> None:
    passage = {"sourceId": "src_1", "title": "Manual", "url": "http://m.example", "page": 3}
    citation = {"marker": 1, "start": 5, "end": 8, "passage": passage}
    message = {"role": "assistant", "content": "Free [1], yes [1].", "citations": [citation, citation]}
    frame = Frame("done", {"status": "completed", "finishReason": "stop", "messages": [message]})
    shown = seen(delta("Free [1], yes [1]."), frame, columns=80)
    assert shown == "> hi\nFree [1], yes [1].\n  [1] Manual, page 3, http://m.example"


def test_control_characters_of_an_answer_do_not_reach_the_terminal() -> None:
    out = io.StringIO()
    turn = TurnScreen(out, lambda: (80, 24))
    turn.show(delta("a\x1b]0;title\x07b\x9b2Jc\rd\te\n"))
    assert out.getvalue() == "a]0;titleb2Jcd\te\n"


def test_a_pipe_gets_the_stored_answer_once() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)
    for frame in (delta("first"), RESTART, delta("second"), done("second")):
        screen.show(frame)
    assert out.getvalue() == "second\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [("", 1), ("a" * 10, 1), ("a" * 11, 2), ("a\n", 2), ("日" * 5, 1), ("a" + "日" * 5, 2), ("a" * 10 + "\n" + "b", 2)],
)
def test_rows_are_counted_as_a_terminal_wraps(text: str, rows: int) -> None:
    assert rows_of(text, 10) == rows


def test_frames_are_whole_however_the_bytes_are_cut() -> None:
    raw = b': ping\n\nevent: delta\ndata: {"text":"a"}\nid: 1-2\n\nevent: done\ndata: {"messages":[]}\nid: 1-3\n\n'
    expected = [Frame("delta", {"text": "a"}, "1-2"), Frame("done", {"messages": []}, "1-3")]
    for cut in range(len(raw)):
        reader = FrameReader()
        assert reader.feed(raw[:cut]) + reader.feed(raw[cut:]) == expected
