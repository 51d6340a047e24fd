"""The queue's names in Redis. `lua/prelude.lua` says what is stored under each key."""

from typing import Final

from shared.outbox import OUTBOX

QUEUE: Final = "parley:turns"
WAKE: Final = f"{QUEUE}:wake"
CONTROL: Final = f"{QUEUE}:control"
DEAD_LETTERS: Final = f"{QUEUE}:dead"
# In the order in which `lua/prelude.lua` names them.
KEYS: Final = (
    QUEUE,
    *(f"{QUEUE}:{part}" for part in ("running", "leases", "enqueued_at", "finished", "wake", "snapshots")),
    OUTBOX,
    DEAD_LETTERS,
    *(f"{QUEUE}:{part}" for part in ("delayed", "flows", "weights", "clock")),
)
