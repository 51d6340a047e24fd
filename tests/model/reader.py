"""The reader's side of the table: how a gateway follows a turn and what its client makes of it."""

from collections.abc import Sequence
from typing import Final

from tests.model.state import ACTIVE, AWAY, BEGINNING, ENDED, LIVE, READING, Frame, Id, Reader, Rules, State
from tests.model.steps import SILENT, Action, Step, Steps, terminal_frame


def follows(frame: Frame, at: Id) -> bool:
    """Whether nothing can stand between."""
    return (frame.attempt == at[0] and frame.seq == at[1] + 1) or (at == BEGINNING and frame.id == (1, 1))


def proved(s: State, rules: Rules) -> tuple[list[Frame], bool]:
    """What the log holds after the reader's id, as far as it is whole, and whether that is all of it.

    A later attempt's first frame makes void what came before; only a `done` there says nothing about the text that is
    shown.
    """
    frames: list[Frame] = []
    at = s.reader.at
    for frame in s.log:
        if frame.id <= at:
            continue
        begins = frame.attempt > at[0] and frame.seq == 1 and (frame.event != "done" or not rules.retell)
        unchecked = bool(frames) and not rules.prove_each
        if not (follows(frame, at) or begins or unchecked):
            return frames, False
        frames.append(frame)
        at = frame.id
    return frames, True


def told(s: State, reader: Reader, frames: Sequence[Frame]) -> Step:
    """The client applies frames: a first delta or `restarted` drops the text shown, the terminal frame ends it."""
    at, text, step = reader.at, reader.text, reader.step
    for frame in frames:
        if frame.attempt:
            at = frame.id
        if frame.event in ("done", "error"):
            step = ENDED
        else:
            text = frame.text if frame.seq == 1 or frame.event == "restarted" else text + frame.text
    return s._replace(reader=Reader(step, at, text, () if step == ENDED else reader.pipe)), frames


def reader_connects(s: State, _: Rules) -> Steps:
    """At any gateway, with the last id it has: subscribe first, then read."""
    if s.reader.step == AWAY:
        yield s._replace(reader=s.reader._replace(step=READING, pipe=())), SILENT


def reader_reads_log(s: State, rules: Rules) -> Steps:
    """As far as it is whole; what is not waits for more, or for the stored end."""
    if s.reader.step == READING:
        yield told(s, s.reader._replace(step=LIVE), proved(s, rules)[0])


def reader_hears(s: State, rules: Rules) -> Steps:
    """A published frame. Known ones are dropped, the next is sent; after a jump or a new attempt the log is read."""
    reader = s.reader
    if reader.step == LIVE and reader.pipe:
        frame, taken = reader.pipe[0], reader._replace(pipe=reader.pipe[1:])
        if frame.id <= reader.at:
            yield s._replace(reader=taken), SILENT
        elif follows(frame, reader.at) or not rules.reread:
            yield told(s, taken, [frame])
        else:
            yield s._replace(reader=reader._replace(step=READING, pipe=())), SILENT


def reader_asks(s: State, rules: Rules) -> Steps:
    """Silence: the log once more, then history.

    An end that the log does not prove is replayed from the stored turn, without ids but for the last.
    """
    if s.reader.step == LIVE and not s.reader.pipe and s.document.status != ACTIVE:
        frames, whole = proved(s, rules)
        if not (whole and frames and frames[-1].event in ("done", "error")):
            frames = [Frame(0, 0, "restarted"), Frame(0, 0, "delta", s.document.text), terminal_frame(s)]
        yield told(s, s.reader, frames)


READING_ON: Final[tuple[Action, ...]] = (
    reader_connects,
    reader_reads_log,
    reader_hears,
    reader_asks,
)
