"""How long to wait before trying again."""

import random
from collections.abc import Iterator


def backoff(first_s: float, last_s: float) -> Iterator[float]:
    """Endless pauses in seconds: each twice as long as the one before, up to `last_s`, times 0.5 to 1.

    The jitter keeps processes that failed together from trying again together.
    """
    pause_s = first_s
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(last_s, pause_s * 2)


def jittered(pause_s: float, spread: float = 0.3) -> float:
    """`pause_s`, give or take the spread: for intervals that many processes share."""
    return pause_s * random.uniform(1 - spread, 1 + spread)
