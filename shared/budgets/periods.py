"""Pure: the periods of budgets. Days and months are UTC."""

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

PeriodKind = Literal["day", "month"]


class Period(NamedTuple):
    """`name` is `2026-11-27` or `2026-11`."""

    kind: PeriodKind
    name: str

    @classmethod
    def of(cls, kind: PeriodKind, at: datetime) -> "Period":
        day = at.astimezone(UTC).date().isoformat()
        return cls(kind, day if kind == "day" else day[:7])

    @classmethod
    def named(cls, name: str) -> "Period":
        return cls("month" if len(name) == 7 else "day", name)

    @property
    def start(self) -> datetime:
        return datetime.fromisoformat(self.name if self.kind == "day" else f"{self.name}-01").replace(tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment of the next one."""
        if self.kind == "day":
            return self.start + timedelta(days=1)
        return (self.start + timedelta(days=32)).replace(day=1)

    @property
    def days(self) -> tuple[str, str]:
        """Its first and its last day."""
        return self.start.date().isoformat(), (self.end - timedelta(days=1)).date().isoformat()
