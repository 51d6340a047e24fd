"""What the tables of actions are made of: the shape of an action, and the few changes that several of them make."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from tests.model.state import BUFFER, FAILED, LIVE, NO_JOB, NOBODY, READING, Frame, Queue, Rules, State, Worker

Step = tuple[State, Sequence[Frame]]
Steps = Iterator[Step]
Action = Callable[[State, Rules], Steps]
SILENT: Final[Sequence[Frame]] = ()
IDLE: Final = Worker()
T = TypeVar("T")


def spent(s: State) -> Steps:
    if s.trouble:
        yield s._replace(trouble=s.trouble - 1), SILENT


def working(s: State) -> Iterator[Worker]:
    return (worker for worker in s.workers if worker.claim)


def with_worker(s: State, old: Worker, new: Worker) -> State:
    return s._replace(workers=swapped(s.workers, old, new))


def ordered(*items: T) -> tuple[T, ...]:
    """Who is first does not matter: one order for all."""
    return tuple(sorted(items))  # type: ignore[type-var]


def without(items: tuple[T, ...], item: T) -> tuple[T, ...]:
    left = list(items)
    left.remove(item)
    return tuple(left)


def swapped(items: tuple[T, ...], old: T, new: T) -> tuple[T, ...]:
    return ordered(*without(items, old), new)


def published(s: State, frame: Frame) -> State:
    """Into the log and to the reader who listens. One that is too slow loses its buffer and goes back to the log."""
    reader = s.reader
    if reader.step in (READING, LIVE):
        pipe = (*reader.pipe, frame)
        reader = reader._replace(pipe=pipe) if len(pipe) <= BUFFER else reader._replace(pipe=(), step=READING)
    return s._replace(log=(*s.log, frame), reader=reader)


def terminal_frame(s: State) -> Frame:
    document = s.document
    return Frame(document.attempt, document.last_seq, "error" if document.status == FAILED else "done")


def end_told(s: State) -> State:
    """The stored turn's terminal frame goes to the log and out. It needs only a lower tail."""
    frame = terminal_frame(s)
    return published(s, frame) if s.tail < frame.id else s


def without_job(queue: Queue) -> Queue:
    return queue._replace(job=NO_JOB, holder=NOBODY, snapshot=False)
