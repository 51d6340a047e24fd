"""For how long a call of the internal API waits for MongoDB."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar


class Waits:
    """Operations that overlap are counted once."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._under_way = 0
        self._waiting_from = 0.0

    @contextmanager
    def wait(self) -> Iterator[None]:
        if not self._under_way:
            self._waiting_from = time.monotonic()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self.total_s += time.monotonic() - self._waiting_from


_WAITS: ContextVar[Waits | None] = ContextVar("waits", default=None)


@contextmanager
def counted_waits() -> Iterator[Waits]:
    """Counts the operations of the block, and of the tasks that it starts."""
    waits = Waits()
    token = _WAITS.set(waits)
    try:
        yield waits
    finally:
        _WAITS.reset(token)


def waiting() -> AbstractContextManager[None]:
    waits = _WAITS.get()
    return waits.wait() if waits is not None else nullcontext()
