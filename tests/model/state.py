"""The state of the protocol's model: one turn, its document, both Redises, and all processes that work on it."""

from typing import Final, NamedTuple

# The model's small world. Two words are enough to cut an answer in the middle; two tries to use the last one up.
WORDS: Final = 2
TRIES: Final = 2
BUFFER: Final = 2

ACTIVE: Final = "active"
COMPLETED: Final = "completed"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"

# Where the turn's job is. A lapsed lease keeps its holder's name until another takes the job: so the holder may renew
# it.
NO_JOB: Final = "no job"
WAITING: Final = "waiting"
LEASED: Final = "leased"
LAPSED: Final = "lapsed"

# What a reader does: it is away, must read the log, is live, or has been told the end.
AWAY: Final = "away"
READING: Final = "reading"
LIVE: Final = "live"
ENDED: Final = "ended"

Text = tuple[int, ...]  # Words. A word is 10 × attempt + place, so that no two attempts say the same.
Id = tuple[int, int]  # (attempt, seq) of a frame.
BEGINNING: Final[Id] = (0, 0)
NOBODY: Final = 0


class Frame(NamedTuple):
    """A frame of the stream.

    `attempt` 0: it has no id. A delta with seq 1 stands for `started` or `restarted` with the first word.
    """

    attempt: int
    seq: int
    event: str
    text: Text = ()

    @property
    def id(self) -> Id:
        return self.attempt, self.seq


class Document(NamedTuple):
    """The turn in MongoDB. `claim` is the one that made the current attempt, `last_seq` is the terminal frame's."""

    status: str = ACTIVE
    attempt: int = 0
    claim: int = NOBODY
    tries: int = 0
    cancel: bool = False
    text: Text = ()
    last_seq: int = 0


class Entry(NamedTuple):
    """A finished attempt in the outbox. All of it was written to the log before: its terminal frame is the next."""

    attempt: int
    claim: int
    status: str
    words: int

    @property
    def text(self) -> Text:
        return tuple(10 * self.attempt + place for place in range(1, self.words + 1))


class Queue(NamedTuple):
    """The queue Redis.

    `marker` is the attempt of the newest outbox entry, 0 when there is none. `snapshot`: the job carries what a claim
    of the turn as it was admitted would answer. `ended`: history has ended the turn and marked it as ended here.
    """

    job: str = NO_JOB
    holder: int = NOBODY
    snapshot: bool = False
    outbox: tuple[Entry, ...] = ()
    marker: int = 0
    ended: bool = False


class Worker(NamedTuple):
    """`claim` 0: idle.

    `attempt` 0: it waits for history's answer. It has made so many words, of which so many are in the log, it thinks.

    `finishing`: it has sent its result and waits for Redis' answer; it repeats the finish and does nothing else.
    """

    claim: int = NOBODY
    attempt: int = 0
    made: int = 0
    sent: int = 0
    finishing: bool = False


class Request(NamedTuple):
    """A claim on its way through history, and then the word that its attempt begins.

    `read`: the attempt that the claim saw in the document, 0 with a claim snapshot, -1 before it has looked. `holds`:
    history has seen that the lease is its own.
    """

    claim: int
    read: int = -1
    holds: bool = False


class Handling(NamedTuple):
    """A history process that has an outbox entry in hand. The document is dealt with; `told`: so is the frame."""

    entry: Entry
    told: bool = False


class Verdict(NamedTuple):
    """A history process about to end the turn itself: by the reconciler, or because of a cancellation.

    `step`: it has read the document, looked at the queue, or written the document. `finished`: the outbox held the
    current attempt's result when history looked at the queue (only an invariant asks).
    """

    step: str
    attempt: int
    reason: str
    finished: bool = False
    text: Text = ()


class Reader(NamedTuple):
    """A client and its gateway: the last id and the text that the client has, and frames published but not taken."""

    step: str = AWAY
    at: Id = BEGINNING
    text: Text = ()
    pipe: tuple[Frame, ...] = ()


class State(NamedTuple):
    """Everything. `trouble` is what may still happen to it: a run has so many faults, whichever they are."""

    trouble: int
    document: Document = Document()
    queue: Queue = Queue()
    log: tuple[Frame, ...] = ()
    workers: tuple[Worker, ...] = (Worker(), Worker())
    requests: tuple[Request, ...] = ()
    handlings: tuple[Handling, ...] = ()
    verdict: Verdict | None = None
    reader: Reader = Reader()
    late: bool = False

    @property
    def tail(self) -> Id:
        return self.log[-1].id if self.log else BEGINNING


class Rules(NamedTuple):
    """The protocol's load-bearing rules.

    The model is run with all of them, and once without each: then it must fail.
    """

    log_fence: bool = True  # A writer's append compares the log's tail.
    document_fence: bool = True  # A result is stored `where attempt == mine`.
    reread: bool = True  # A jump in the ids, or another attempt, sends a live reader back to the log.
    drain: bool = True  # No verdict while the outbox holds a result of the turn.
    drain_after_read: bool = True  # And that is looked up after the document was read, together with the lease.
    claim_once: bool = True  # An attempt is begun by its number: the same word again begins no other.
    # A claim snapshot is for a job's first claim: at a later one, the attempt that it names may have been made.
    snapshot_once: bool = True
    claim_needs_lease: bool = True  # A claim that no longer holds the lease begins no attempt.
    prove_each: bool = True  # Each frame read from the log must follow the one before, not only the first.
    ended_mark: bool = True  # A lease of a turn that history has ended is not restored.
    # A `done` that does not follow the reader's last frame in its own attempt is replayed from the stored turn.
    retell: bool = True


ALL_RULES: Final = Rules()
