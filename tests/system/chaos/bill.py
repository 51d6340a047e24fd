"""Pure: compares what `/usage` counts with the turns' documents and with the book of the model."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.system.chaos.events import Billed, Counted, Stored


class Fault(NamedTuple):
    turn: str
    seen: str


def bill_faults(stored: Sequence[Stored], billed: Sequence[Billed], counted: Counted) -> Iterator[Fault]:
    """For when all turns have ended."""
    yield from _ledger(stored, billed, counted)
    yield from _turns(stored, billed)


def _ledger(stored: Sequence[Stored], billed: Sequence[Billed], counted: Counted) -> Iterator[Fault]:
    """Each ended turn is in `/usage` once. Of an erased turn only its last attempt's use is known: at most its bill."""
    used, estimated = sum(turn.used for turn in stored), sum(turn.estimated for turn in stored)
    kept = {turn.asked for turn in stored}
    erased = sum(page.whole_tokens for page in billed if page.asked not in kept)
    if not used + counted.erased <= counted.used <= used + erased:
        most = f"{used + counted.erased} to {used + erased}"
        yield Fault("", f"/usage has {counted.used} reported tokens, the turns have {most}")
    if counted.estimated < estimated or (counted.estimated > estimated and not erased):
        yield Fault("", f"/usage has {counted.estimated} estimated tokens, the turns have {estimated}")
    if counted.turns < len(stored):
        yield Fault("", f"/usage has {counted.turns} turns, {len(stored)} are stored")


def _turns(stored: Sequence[Stored], billed: Sequence[Billed]) -> Iterator[Fault]:
    pages = {page.asked: page for page in billed}
    used: defaultdict[str, int] = defaultdict(int)
    for turn in stored:
        used[turn.asked] += turn.used
        if turn.untold:
            yield Fault(turn.turn, f"nothing is counted of its attempts {turn.untold}")
        if turn.status == "completed" and turn.used < turn.usage.get("totalTokens", 0):
            yield Fault(turn.turn, f"{turn.used} tokens are counted, its answer took {turn.usage}")
    for asked, tokens in used.items():
        most = pages[asked].whole_tokens if asked in pages else 0
        if tokens > most:
            yield Fault("", f"{tokens} tokens are counted for {asked!r}, the model billed {most}")
