"""The protocol of a turn as a table of actions: who may do what, when, and what it changes.

Each action is one atomic step of one store.

The turn has been admitted: its document is there. From here on anything in the table may happen, in any order. An
action takes a state and gives the states that it can lead to, each with the frames that the client is told on the way.

Here are the workers and history; `reader.py` has the gateway and its client, `trouble.py` what goes wrong.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final

from tests.model.state import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    FAILED,
    LAPSED,
    LEASED,
    NO_JOB,
    NOBODY,
    TRIES,
    WAITING,
    WORDS,
    Entry,
    Frame,
    Handling,
    Queue,
    Request,
    Rules,
    State,
    Text,
    Verdict,
    Worker,
)
from tests.model.steps import (
    IDLE,
    SILENT,
    Action,
    Steps,
    end_told,
    ordered,
    published,
    spent,
    swapped,
    with_worker,
    without,
    without_job,
    working,
)

# --- queue: one script each


def fresh_claim(s: State) -> int:
    """A claim id that nobody remembers: the smallest, so that equal situations are equal states."""
    known = {s.queue.holder, s.document.claim, *(w.claim for w in s.workers), *(r.claim for r in s.requests)}
    known.update(entry.claim for entry in s.queue.outbox)
    return next(number for number in count(1) if number not in known)


def turn_is_enqueued(s: State, _: Rules) -> Steps:
    """By the gateway after admission, with a claim snapshot, or by the reconciler, for a turn without job and result.

    Either may come late.
    """
    if s.queue.job == NO_JOB and not s.queue.marker:
        for snapshot in (True, False):
            queued = s._replace(queue=s.queue._replace(job=WAITING, snapshot=snapshot))
            yield from ((queued, SILENT),) if s.document.status == ACTIVE else spent(queued)


def worker_takes_job(s: State, rules: Rules) -> Steps:
    """A waiting job, or one whose lease has lapsed. The lease's value is the claim id, new for each claim.

    Then the worker asks history. With a claim snapshot, which the claim removes, it starts the attempt at once.
    """
    if s.queue.job in (WAITING, LAPSED) and IDLE in s.workers:
        claim = fresh_claim(s)
        request = Request(claim, read=0) if s.queue.snapshot else Request(claim)
        queue = s.queue._replace(job=LEASED, holder=claim, snapshot=s.queue.snapshot and not rules.snapshot_once)
        yield with_worker(s, IDLE, Worker(claim))._replace(queue=queue, requests=ordered(*s.requests, request)), SILENT


def worker_renews(s: State, rules: Rules) -> Steps:
    """Its own lease, even a lapsed one that nobody took.

    Where a flush left no holder it puts the job back; else it has lost the turn.

    It has also lost a turn that history has ended: that leaves no holder either, but a mark.
    """
    for worker in working(s):
        queue = s.queue
        if queue.holder == worker.claim:
            if queue.job == LAPSED:
                yield s._replace(queue=queue._replace(job=LEASED)), SILENT
        elif queue.holder == NOBODY and not queue.marker and not (queue.ended and rules.ended_mark):
            yield s._replace(queue=queue._replace(job=LEASED, holder=worker.claim)), SILENT
        else:
            yield with_worker(s, worker, IDLE), SILENT


def lease_lapses(s: State, _: Rules) -> Steps:
    """By itself when its holder is dead; it takes a pause or an outage when the holder lives."""
    if s.queue.job == LEASED:
        lapsed = s._replace(queue=s.queue._replace(job=LAPSED))
        if any(worker.claim == s.queue.holder for worker in s.workers):
            yield from spent(lapsed)
        else:
            yield lapsed, SILENT


# --- claim: history reads for the worker, which asks the model and begins its attempt


def history_reads_claim(s: State, _: Rules) -> Steps:
    """No try left: history ends the turn, if the claim holds the lease.

    Otherwise the worker begins the attempt after the one read.

    What the worker asks of the model meanwhile nobody sees, so it has no step. A repeat that comes when the attempt has
    begun is late.
    """
    for request in s.requests:
        if request.read != -1:
            continue
        document = s.document
        if document.status != ACTIVE:
            yield from answers(s, request, 0)
        elif document.claim == request.claim:
            yield s._replace(requests=without(s.requests, request)), SILENT
        elif document.tries >= TRIES:
            verdict = s.verdict
            if holds_lease(s, request):
                verdict = verdict or Verdict("looked", document.attempt, "tries", has_result(s))
            yield from answers(s._replace(verdict=verdict), request, 0)
        else:
            yield s._replace(requests=swapped(s.requests, request, request._replace(read=document.attempt))), SILENT


def holds_lease(s: State, request: Request) -> bool:
    return (s.queue.job, s.queue.holder) == (LEASED, request.claim)


def history_looks_at_lease(s: State, rules: Rules) -> Steps:
    """After the claim read the document: so nobody who got the lease later can have raised the attempt that it read."""
    for request in s.requests:
        if request.read != -1 and not request.holds:
            if rules.claim_needs_lease and not holds_lease(s, request):
                yield from answers(s, request, 0)
            else:
                yield s._replace(requests=swapped(s.requests, request, request._replace(holds=True))), SILENT


def history_raises_attempt(s: State, rules: Rules) -> Steps:
    """`where attempt == read and active`.

    What has moved on is this claim's own attempt, begun by the same word, or another's.
    """
    for request in s.requests:
        if not request.holds:
            continue
        document = s.document
        if document.status == ACTIVE and (document.attempt == request.read or not rules.claim_once):
            raised = document._replace(attempt=document.attempt + 1, claim=request.claim, tries=document.tries + 1)
            yield from answers(s._replace(document=raised), request, raised.attempt)
        elif document.status == ACTIVE and (document.attempt, document.claim) == (request.read + 1, request.claim):
            yield from answers(s, request, document.attempt)
        else:
            yield from answers(s, request, 0)


def answers(s: State, request: Request, attempt: int) -> Steps:
    """The answer reaches the worker if it still waits for one. 0: it lets the job go, if that is still its own.

    A claim that finds nothing to do drops the job, an attempt that is refused hands it back. Where the call was
    repeated, either answer may be the lost one.
    """
    s = s._replace(requests=without(s.requests, request))
    waiting = next((w for w in s.workers if w.claim == request.claim and not w.attempt), None)
    if waiting is None:
        yield s, SILENT
        return
    if any(other.claim == request.claim and (other.read != -1 or request.read == -1) for other in s.requests):
        yield s, SILENT
    if attempt:
        yield with_worker(s, waiting, waiting._replace(attempt=attempt)), SILENT
        return
    queue = s.queue
    if queue.holder == request.claim:
        queue = without_job(queue) if request.read == -1 else queue._replace(job=WAITING, holder=NOBODY)
    yield with_worker(s, waiting, IDLE)._replace(queue=queue), SILENT


# --- run: the worker writes the log, then finishes


def worker_writes(s: State, rules: Rules) -> Steps:
    """One script: the frame is appended and published, if the tail is the frame before it (seq 1: any lower attempt's).

    A higher tail fences the writer. A lower one, or none, makes it send again what is missing; a higher one of its own
    attempt tells it that an answer was lost.
    """
    for worker in working(s):
        if not worker.attempt or worker.finishing or worker.sent == WORDS:
            continue
        seq = worker.sent + 1
        made = max(worker.made, seq)
        attempt, tail_seq = s.tail
        had = tail_seq if attempt == worker.attempt else 0
        if rules.log_fence and (attempt > worker.attempt or had > made):
            yield with_worker(s, worker, IDLE), SILENT
        elif rules.log_fence and had != worker.sent:
            yield with_worker(s, worker, worker._replace(sent=had)), SILENT
        else:
            frame = Frame(worker.attempt, seq, "delta", (10 * worker.attempt + seq,))
            appended = published(s, frame) if s.tail < frame.id else s  # Redis itself refuses ids that do not grow.
            yield with_worker(appended, worker, worker._replace(made=made, sent=seq)), SILENT
            yield from spent(with_worker(appended, worker, worker._replace(made=made)))  # Redis' answer is lost.


def worker_finishes(s: State, _: Rules) -> Steps:
    """One script, once all frames are in the log: result into the outbox, job away.

    Refused when another has the job, or it waits for one.

    A result that is there already was its own, or a flush let two attempts finish: then this one is run again.
    """
    for worker in working(s):
        if not worker.attempt or worker.sent < worker.made or not (worker.made == WORDS or s.document.cancel):
            continue
        queue = s.queue
        over = with_worker(s, worker, IDLE)
        if queue.marker:
            yield over, SILENT
        elif queue.holder != worker.claim and queue.job != NO_JOB:
            yield over, SILENT
        else:
            status = COMPLETED if worker.made == WORDS else CANCELLED
            entry = Entry(worker.attempt, worker.claim, status, worker.made)
            queue = Queue(outbox=(*queue.outbox, entry), marker=worker.attempt, ended=queue.ended)
            yield over._replace(queue=queue), SILENT
            waits = with_worker(s, worker, worker._replace(finishing=True))
            yield from spent(waits._replace(queue=queue))  # Redis' answer is lost: the worker repeats it.


# --- history: results become documents


def history_stores(s: State, rules: Rules) -> Steps:
    """An outbox entry, new or redelivered: stored `where attempt == mine and active`.

    An attempt that stands already is only told again.
    """
    for entry in s.queue.outbox:
        in_hand = any(handling.entry == entry for handling in s.handlings)
        if len(s.handlings) == 2 or (in_hand and not s.trouble):
            continue
        document = s.document
        mine = document.attempt == entry.attempt
        told = not mine
        if document.status == ACTIVE and (mine or not rules.document_fence):
            document = document._replace(
                status=entry.status, text=entry.text, last_seq=entry.words + 1, attempt=entry.attempt
            )
            told = False
        after = s._replace(document=document, handlings=ordered(*s.handlings, Handling(entry, told)))
        # A second history takes an entry over only when the first is stuck.
        yield from spent(after) if in_hand else ((after, SILENT),)


def history_tells(s: State, _: Rules) -> Steps:
    """The terminal frame, after the document."""
    for handling in s.handlings:
        if not handling.told:
            handled = s._replace(handlings=swapped(s.handlings, handling, handling._replace(told=True)))
            yield end_told(handled), SILENT


def history_acknowledges(s: State, _: Rules) -> Steps:
    """Acknowledged and removed; the marker goes only with its own entry."""
    for handling in s.handlings:
        if handling.told:
            left = list(s.handlings)
            left.remove(handling)
            queue = s.queue._replace(outbox=tuple(entry for entry in s.queue.outbox if entry != handling.entry))
            if queue.marker == handling.entry.attempt:
                queue = queue._replace(marker=0)
            yield s._replace(queue=queue, handlings=tuple(left)), SILENT


# --- history: a turn is ended without its worker


def verdict_reads(s: State, rules: Rules) -> Steps:
    """The reconciler (deadline, tries) or a cancellation reads the document: is there a reason to end the turn?"""
    document = s.document
    if s.verdict is None and document.status == ACTIVE and may_judge(s, rules.drain and not rules.drain_after_read):
        reason = "deadline" if s.late else "cancel" if document.cancel else "tries" if document.tries >= TRIES else None
        if reason is not None:
            yield s._replace(verdict=Verdict("read", document.attempt, reason)), SILENT


def verdict_looks(s: State, rules: Rules) -> Steps:
    """Then at the queue: nobody holds the lease (a deadline does not mind), and not because a result is on its way.

    A cancelled turn keeps the text that its log holds. (So does a failed one; but nothing is promised of that.)
    """
    verdict = s.verdict
    if verdict is None or verdict.step != "read" or not may_judge(s, rules.drain and rules.drain_after_read):
        return
    if s.queue.job == LEASED and verdict.reason != "deadline":
        yield s._replace(verdict=None), SILENT
    else:
        text = written_text(s.log) if verdict.reason == "cancel" else ()
        yield s._replace(verdict=verdict._replace(step="looked", finished=has_result(s), text=text)), SILENT


def may_judge(s: State, drained: bool) -> bool:
    """A reconciler that must drain the outbox first goes on when it is empty."""
    return not drained or not s.queue.outbox


def has_result(s: State) -> bool:
    """Whether the current attempt's result is in the outbox."""
    return any(entry.attempt == s.document.attempt for entry in s.queue.outbox)


def verdict_falls(s: State, _: Rules) -> Steps:
    """`where attempt == read and active`: attempt raised, terminal."""
    verdict = s.verdict
    if verdict is not None and verdict.step == "looked":
        document = s.document
        if document.status == ACTIVE and document.attempt == verdict.attempt:
            status = CANCELLED if verdict.reason == "cancel" else FAILED
            document = document._replace(status=status, text=verdict.text, last_seq=1, attempt=document.attempt + 1)
            yield s._replace(document=document, verdict=verdict._replace(step="written")), SILENT
        else:
            yield s._replace(verdict=None), SILENT


def verdict_tells(s: State, _: Rules) -> Steps:
    """The terminal frame, the new attempt's first; the job is removed, and the turn marked as ended."""
    if s.verdict is not None and s.verdict.step == "written":
        yield end_told(s._replace(verdict=None, queue=without_job(s.queue)._replace(ended=True))), SILENT


def written_text(log: Sequence[Frame]) -> Text:
    """What the highest attempt in the log has said."""
    highest = max((frame.attempt for frame in log), default=0)
    return tuple(word for frame in log if frame.attempt == highest for word in frame.text)


PROTOCOL: Final[tuple[Action, ...]] = (
    turn_is_enqueued,
    worker_takes_job,
    worker_renews,
    lease_lapses,
    history_reads_claim,
    history_looks_at_lease,
    history_raises_attempt,
    worker_writes,
    worker_finishes,
    history_stores,
    history_tells,
    history_acknowledges,
    verdict_reads,
    verdict_looks,
    verdict_falls,
    verdict_tells,
)
