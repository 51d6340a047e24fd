"""Why history itself ends a turn."""

from dataclasses import dataclass
from typing import Final, Literal

from shared.contracts.errors import ApiError, Code


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    status: Literal["cancelled", "failed"]
    error: ApiError | None = None

    @property
    def code(self) -> str | None:
        return str(self.error.code) if self.error is not None else None


CANCELLED: Final = Verdict(status="cancelled")
OUT_OF_TRIES: Final = Verdict(
    status="failed", error=ApiError(Code.TURN_FAILED, "The workers that ran this turn were lost too often.")
)
TOO_LATE: Final = Verdict(status="failed", error=ApiError(Code.TURN_TIMEOUT))
NEVER_STARTED: Final = Verdict(
    status="failed", error=ApiError(Code.TURN_TIMEOUT, "No worker was free to run this turn in time.")
)
UNSTORABLE: Final = Verdict(
    status="failed", error=ApiError(Code.TURN_FAILED, "The answer of this turn could not be stored.")
)
UNDECODABLE_JOB: Final = Verdict(
    status="failed", error=ApiError(Code.TURN_FAILED, "The job of this turn could not be decoded.")
)
UNREADABLE: Final = Verdict(
    status="failed", error=ApiError(Code.TURN_FAILED, "The stored form of this turn cannot be read.")
)
