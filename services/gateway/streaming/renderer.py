"""What a protocol has to say about a stream. To add a protocol, write one `Renderer` and give it to `StreamSession`."""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame

# A comment: every SSE client ignores it, and every proxy counts it as traffic.
PING: Final = b": ping\n\n"

Send = Callable[[bytes], bool]


class End(Enum):
    """How a stream ends. BROKEN: the connection must not end as if the answer were whole."""

    CLEAN = auto()
    BROKEN = auto()


class Rendered(NamedTuple):
    """Bytes for the client, in parts that are small where the frames are small. `end`: nothing follows."""

    parts: Sequence[bytes]
    end: End | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)


class Renderer(Protocol):
    """Turns the frames of one turn into the bytes of one client's protocol. It does no I/O, and one stream owns it.

    `StreamSession` does the rest: it subscribes, resumes, reads the log, asks history, pings, writes within limits,
    and ends or aborts the connection. A renderer is asked in this order: `start` once; then `frames`, and `ping` at
    any time; then, unless `frames` has returned an end, `failed` or `interrupted`. It may keep what its protocol
    needs (an open message, a counter), because each frame is given to it exactly once and in order: either to
    `frames` or to the function that `fast_path` returns.
    """

    @property
    def can_restart(self) -> bool:
        """Whether the protocol can tell its client to drop an earlier attempt's text (`restarted`).

        If it cannot, the first batch is the whole log so far, so that a reader who has no text yet never gets text
        that a later frame voids.
        """
        ...

    def start(self) -> bytes:
        """What the client gets at once, before any frame; may be empty."""
        ...

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        """One batch, never empty. The batch with the terminal frame, always its last, must return an `end`."""
        ...

    def fast_path(self, send: Send) -> Send:
        """A function for single published frames. It is called once per token, so it must not parse.

        It renders the frame, passes the bytes to `send`, and returns what that returns. It returns False, and changes
        nothing, for a frame that needs more thought: that frame is then given to `frames`.
        Where the client receives frames as they are, return `send` itself.
        """
        ...

    def ping(self) -> bytes:
        """Bytes that keep a silent connection alive and mean nothing. They may be sent between any two frames."""
        ...

    def interrupted(self) -> Rendered:
        """This gateway stops; the turn goes on. `end` must be given."""
        ...

    def failed(self, error: ApiError) -> Rendered:
        """The stream cannot go on. `end` must be given."""
        ...
