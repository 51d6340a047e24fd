"""What a chaos run records: one event per thing that a client asked, was told or saw, and the stored truth at the end.

Times are seconds since the run began. Everything is plain data, so that a run can be written to a file and be judged
again.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

How = Literal["clean", "cut", "left"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A message that must be answered. All its repeats share `request`. `session` is empty for a completion."""

    at: float
    request: int
    content: str
    session: str = ""
    key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A success was answered: from here on the turn may not be lost."""

    at: float
    request: int
    turn: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    at: float
    request: int
    status: int
    code: str
    turn: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A request broke or was refused for now: number `tries` in a row of one client that got no answer."""

    at: float
    asked: str
    gateway: str
    what: str
    tries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A client reads a turn's stream. `view` goes on over resumes: what one reader has put together of one turn."""

    at: float
    view: int
    turn: str
    session: str = ""
    after: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    at: float
    view: int
    id: str | None
    event: str
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """`clean`: an orderly end of the body · `cut`: a broken connection · `left`: the client itself went away."""

    at: float
    view: int
    how: How


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A whole answer in one body: of `stream: false`, or of a repeated request."""

    at: float
    request: int
    turn: str
    status: str
    text: str
    usage: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunked:
    """A stream of completion chunks, as it was when it ended. `before` is the text that it resumed after."""

    at: float
    request: int
    turn: str
    text: str
    how: How
    before: str = ""
    finish: str | None = None
    done: bool = False
    error: str | None = None
    usage: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """A client is about to ask for the turn's cancellation."""

    at: float
    turn: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """A client is about to ask for the session's end, perhaps while a turn runs."""

    at: float
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleting:
    """A client is about to ask for the session's deletion, perhaps while a turn runs."""

    at: float
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """The deletion was acknowledged: from here on nothing of the session may be told."""

    at: float
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """A client asked again for a part of a session whose deletion was acknowledged before `at`."""

    at: float
    session: str
    what: str
    status: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Remains:
    """What a store holds of a deleted session at the end."""

    session: str
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserved:
    """What Redis still holds of a budget for a turn at the end. `turn` is empty where it cannot be told."""

    turn: str
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A new turn was asked for while a store was down (`kind` of outage). Status 0: the connection broke."""

    at: float
    kind: str
    status: int
    took_s: float
    retry_after: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """The first turn that was asked for after the outage has completed, so long after the store was ready again."""

    at: float
    kind: str
    after_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """A client gave up: its turn had no end long after the last fault."""

    at: float
    request: int
    turn: str
    waited_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Injected:
    """A fault that took effect; it lasted until `until`."""

    at: float
    until: float
    kind: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A turn's document at the end. `text` is its assistant messages', `asked` the caller's last message.

    `used` are the tokens that a model reported, of all attempts; `estimated` the others. `untold` are the attempts of
    which the document has neither. `n` is its number in its session.
    """

    turn: str
    session: str
    key: str | None
    status: str
    attempt: int
    asked: str
    text: str
    message_ids: tuple[str, ...]
    last_seq: int
    usage: dict[str, Any]
    error: str | None = None
    retryable: bool = False
    used: int = 0
    estimated: int = 0
    untold: tuple[int, ...] = ()
    n: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Billed:
    """What the model's own book has of a question: whole calls, and calls whose reader went away, with their tokens."""

    asked: str
    whole_calls: int
    whole_tokens: int
    cut_calls: int
    cut_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What `/usage` tells of the whole run. `erased`: tokens that the documents of erased turns still have, where
    none of them is estimated.
    """

    turns: int
    used: int
    estimated: int
    erased: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """A session as the public API tells it at the end: (turn, role, message id, text) in order."""

    session: str
    messages: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """The workspace's webhook took an event; `event` is its id. It may be told again."""

    at: float
    event: str
    type: str
    session: str
    turn: str
    status: str
    verified: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A session's document at the end."""

    session: str
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Untold:
    """What still waits for the webhook at the end: an event of this turn or session."""

    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """An author was told that a knowledge source is taken in. `mark`: a word of its text and title alone."""

    at: float
    agent: str
    source: str
    mark: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Removing:
    """An author is about to delete a source; `purge`: from published versions too."""

    at: float
    source: str
    purge: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """How that was answered. 404: an earlier try was taken in. `looked`: how a look at the source was, after it."""

    at: float
    source: str
    purge: bool
    status: int
    looked: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """An agent's sources as the public API lists them at the end, and its counts of them by state."""

    agent: str
    sources: tuple[str, ...]
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """What MongoDB has of all knowledge at the end (`knowledge_stores.py` says how each row is made)."""

    sources: tuple[dict[str, Any], ...]
    versions: tuple[dict[str, Any], ...]
    indexes: tuple[dict[str, Any], ...]
    # By the owner's name: the positions of its passages.
    passages: dict[str, tuple[int, ...]]
    # By the blob's id: its size as it is announced, None without an announcement; and the bytes that there are.
    blobs: dict[str, tuple[int | None, int]]
    # Names of sets and builds that have vectors.
    vectors: tuple[str, ...]
    # The audit's actions about each source.
    audited: dict[str, tuple[str, ...]]
    # Where marks were found: (collection, document, mark).
    found: tuple[tuple[str, str, str], ...]
    # What was left behind until it was erased as abandoned.
    abandoned: tuple[str, ...] = ()


Event = (
    Asked
    | Accepted
    | Refused
    | Failed
    | Opened
    | Frame
    | Closed
    | Answered
    | Chunked
    | Cancelled
    | Ending
    | Deleting
    | Deleted
    | Looked
    | Remains
    | Reserved
    | Probed
    | Recovered
    | Overdue
    | Injected
    | Stored
    | Billed
    | Counted
    | Transcript
    | Told
    | Kept
    | Untold
    | Added
    | Removing
    | Removed
    | Listed
    | Knowledge
)


@dataclass
class History:
    """All events of a run, in the order in which they were recorded."""

    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def extend(self, events: Iterable[Event]) -> None:
        self.events.extend(events)

    def write(self, path: Path) -> None:
        """As JSON lines, each with its event's name."""
        path.write_bytes(
            b"".join(orjson.dumps({"is": type(event).__name__, **asdict(event)}) + b"\n" for event in self.events)
        )
