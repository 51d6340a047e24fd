"""What goes wrong, and what people ask for at a bad moment.

Each action costs one of the run's faults, which is already paid in the state that it gets.
"""

from typing import Final

from tests.model.state import ACTIVE, AWAY, LAPSED, LIVE, NOBODY, READING, WAITING, Queue, Request, Rules, State
from tests.model.steps import IDLE, SILENT, Action, Steps, ordered, with_worker, working


def claim_is_repeated(s: State, _: Rules) -> Steps:
    """The connection to history broke: the call is made again at another one, and the first may still arrive."""
    for worker in working(s):
        request = Request(worker.claim)
        if not worker.attempt and request.claim not in {r.claim for r in s.requests if r.read == -1}:
            yield s._replace(requests=ordered(*s.requests, request)), SILENT


def start_is_repeated(s: State, _: Rules) -> Steps:
    """The same, of the word that begins the attempt."""
    for worker in working(s):
        for request in s.requests:
            if not worker.attempt and request.claim == worker.claim and request.read != -1:
                again = request._replace(holds=False)
                if sum(other.claim == worker.claim for other in s.requests) == 1:
                    yield s._replace(requests=ordered(*s.requests, again)), SILENT


def worker_requeues(s: State, _: Rules) -> Steps:
    """A drain: the try is given back `where attempt == mine`, then the job if it is still its own."""
    for worker in working(s):
        if worker.attempt and not worker.finishing:
            document, queue = s.document, s.queue
            if document.attempt == worker.attempt and document.status == ACTIVE:
                document = document._replace(tries=document.tries - 1)
            if queue.holder == worker.claim:
                queue = queue._replace(job=WAITING, holder=NOBODY)
            yield with_worker(s, worker, IDLE)._replace(document=document, queue=queue), SILENT


def cancel_is_asked(s: State, _: Rules) -> Steps:
    """Into the document. The worker hears of it by the claim or the control channel, if it hears."""
    if s.document.status == ACTIVE and not s.document.cancel:
        yield s._replace(document=s.document._replace(cancel=True)), SILENT


def deadline_passes(s: State, _: Rules) -> Steps:
    if not s.late and s.document.status == ACTIVE:
        yield s._replace(late=True), SILENT


def worker_dies(s: State, _: Rules) -> Steps:
    """What it asked of history may still be on its way."""
    for worker in working(s):
        yield with_worker(s, worker, IDLE), SILENT


def history_dies(s: State, _: Rules) -> Steps:
    """With an entry in hand, which stays pending, or between a verdict and its frame."""
    for handling in s.handlings:
        left = list(s.handlings)
        left.remove(handling)
        yield s._replace(handlings=tuple(left)), SILENT
    if s.verdict is not None and s.verdict.step == "written":
        yield s._replace(verdict=None), SILENT


def gateway_dies(s: State, _: Rules) -> Steps:
    """The client's connection breaks; it keeps what it has."""
    if s.reader.step in (READING, LIVE):
        yield s._replace(reader=s.reader._replace(step=AWAY, pipe=())), SILENT


def message_is_lost(s: State, _: Rules) -> Steps:
    """Pub/sub forgets one without a sign."""
    if s.reader.pipe:
        yield s._replace(reader=s.reader._replace(pipe=s.reader.pipe[1:])), SILENT


def queue_is_flushed(s: State, _: Rules) -> Steps:
    if s.queue != Queue():
        yield with_lost_results(s, Queue()), SILENT


def queue_forgets_finish(s: State, _: Rules) -> Steps:
    """A restart from an older file: the job is back, with its claim snapshot or without, the result is not."""
    if s.queue.outbox:
        *older, last = s.queue.outbox
        marker = older[-1].attempt if older else 0
        for snapshot in (True, False):
            yield with_lost_results(s, Queue(LAPSED, last.claim, snapshot, tuple(older), marker)), SILENT


def with_lost_results(s: State, queue: Queue) -> State:
    """A verdict may fall again: what was in the outbox is gone."""
    return s._replace(queue=queue, verdict=s.verdict and s.verdict._replace(finished=False))


def log_is_flushed(s: State, _: Rules) -> Steps:
    if s.log:
        yield s._replace(log=()), SILENT


def log_forgets_tail(s: State, _: Rules) -> Steps:
    """A failover to a replica that lacks the last frame."""
    if len(s.log) > 1:
        yield s._replace(log=s.log[:-1]), SILENT


TROUBLE: Final[tuple[Action, ...]] = (
    cancel_is_asked,
    deadline_passes,
    claim_is_repeated,
    start_is_repeated,
    worker_requeues,
    worker_dies,
    history_dies,
    gateway_dies,
    message_is_lost,
    queue_is_flushed,
    queue_forgets_finish,
    log_is_flushed,
    log_forgets_tail,
)
