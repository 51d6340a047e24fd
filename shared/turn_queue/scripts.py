"""The queue's Lua scripts, read once from `lua/`. Each file says what it does, its arguments and its answer."""

from pathlib import Path
from typing import Final

from shared.broker.script import Script
from shared.budgets.reservation import COUNTERS

_FOLDER: Final = Path(__file__).with_name("lua")


def _script(name: str) -> Script:
    return Script.read(_FOLDER / "prelude.lua", _FOLDER / f"{name}.lua")


ACKNOWLEDGE: Final = _script("acknowledge")
BACKLOG: Final = _script("backlog")
# The claim reserves the turn's estimate under its budgets.
CLAIM: Final = Script.read(COUNTERS, _FOLDER / "prelude.lua", _FOLDER / "claim.lua")
DEAD_LETTER: Final = _script("dead_letter")
DROP: Final = _script("drop")
ENQUEUE: Final = _script("enqueue")
FINISH: Final = _script("finish")
FORGET: Final = _script("forget")
HOLDER: Final = _script("holder")
MISSING: Final = _script("missing")
POSITION: Final = _script("position")
RENEW: Final = _script("renew")
REQUEUE: Final = _script("requeue")
RESTORE: Final = _script("restore")
STATUS: Final = _script("status")
