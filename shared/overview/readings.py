"""One process's metrics at one moment, as numbers that can be added up."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client.parser import text_string_to_metric_families

Kind = Literal["gateway", "history", "ingest", "worker", "unknown"]
# A metric that only this kind of process has. The first that is there decides.
_MARKS: Final[tuple[tuple[str, Kind], ...]] = (
    ("parley_open_listeners", "gateway"),
    ("parley_outbox_lag_seconds_count", "history"),
    ("parley_sources_reading", "ingest"),
    ("parley_turns_running", "worker"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """`at_s`: by the reader's monotonic clock."""

    at_s: float
    samples: tuple[Sample, ...]

    @classmethod
    def parse(cls, text: str, at_s: float) -> "Reading":
        """Raises ValueError for what is no text of Prometheus."""
        found = [
            Sample(sample.name, dict(sample.labels), float(sample.value))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("parley_")
        ]
        return cls(at_s, tuple(found))

    @property
    def kind(self) -> Kind:
        names = {sample.name for sample in self.samples}
        return next((kind for mark, kind in _MARKS if mark in names), "unknown")

    def total(self, name: str, **beginnings: str) -> float:
        """The sum of a metric's series whose labels begin with the given texts."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name
            and all(sample.labels.get(label, "").startswith(begin) for label, begin in beginnings.items())
        )


def total(readings: Iterable[Reading], name: str, **beginnings: str) -> float:
    return sum(reading.total(name, **beginnings) for reading in readings)
