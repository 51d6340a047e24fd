"""What one turn, one token and one open stream cost, and how full a part may be. `costs.json` has the figures.

`python -m tests.bench.unit_costs FILE` measures those of the machine where it runs, in the same form.
"""

from pathlib import Path
from typing import Final

from pydantic import ConfigDict, Field

from shared.contracts.schema import Schema

MEASURED: Final = Path(__file__).with_name("costs.json")


class Processor(Schema):
    """CPU time of a part: milliseconds for a turn, microseconds for a streamed token."""

    model_config = ConfigDict(extra="forbid", strict=True)

    turn_ms: float = Field(ge=0)
    token_us: float = Field(ge=0)

    def cores(self, turns_s: float, tokens_s: float) -> float:
        return turns_s * self.turn_ms / 1e3 + tokens_s * self.token_us / 1e6


class UnitCosts(Schema):
    """All unit costs. `conditions` says where and how they were measured.

    `stream_kib` and `stream_us_s`: memory of an open stream in its gateway, and CPU microseconds that its heartbeats
    cost in a second. `log_kib`: memory of one turn's run log. `writes_per_turn`, `reads_per_turn`, `document_kib`:
    MongoDB's operations for a turn and the size of its document.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    conditions: str
    gateway: Processor
    worker: Processor
    history: Processor
    queue_redis: Processor
    stream_redis: Processor
    stream_kib: float = Field(gt=0)
    stream_us_s: float = Field(ge=0)
    log_kib: float = Field(ge=0)
    writes_per_turn: float = Field(gt=0)
    reads_per_turn: float = Field(ge=0)
    document_kib: float = Field(gt=0)


def read_costs(path: Path = MEASURED) -> UnitCosts:
    """Raises OSError, and ValueError (pydantic's) when the file has another form."""
    return UnitCosts.model_validate_json(path.read_bytes())
