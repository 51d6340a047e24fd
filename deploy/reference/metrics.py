"""metrics.md: every metric, as the modules of the services and of `shared` register them."""

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from prometheus_client.metrics import MetricWrapperBase

import services
import shared
from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table

INTRODUCTION = """\
Each process serves `GET /metrics` in Prometheus' text format on its own port (a gateway: on its private port). Python's
and the process's own metrics are there as well. A metric of `shared` appears in every process that uses that module."""


def page() -> str:
    rows = sorted({_row(where, metric) for where, metric in _metrics()})
    return markdown_page(
        "Metrics",
        "the modules that define them",
        INTRODUCTION,
        table(("metric", "type", "labels", "meaning", "defined in"), rows),
    )


def _row(where: str, metric: MetricWrapperBase) -> tuple[str, str, str, str, str]:
    described = next(iter(metric.describe()))
    name = described.name + ("_total" if described.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"`{name}`", described.type, labels or "none", described.documentation, f"`{where}`"


def _metrics() -> Iterator[tuple[str, MetricWrapperBase]]:
    """Each metric with the module that defines it, and not with those that import it."""
    seen = dict[int, tuple[str, MetricWrapperBase]]()
    for module in _modules():
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                home = seen.get(id(value))
                if home is None or _preferred(module.__name__, home[0]):
                    seen[id(value)] = (module.__name__, value)
    yield from ((name.replace(".", "/") + ".py", metric) for name, metric in seen.values())


def _preferred(name: str, other: str) -> bool:
    """The module whose source text creates metrics is the home, wherever else it is imported."""
    return _creates(sys.modules[name]) and not _creates(sys.modules[other])


def _creates(module: ModuleType) -> bool:
    return bool({"Counter", "Gauge", "Histogram", "Summary"} & set(vars(module)))


def _modules() -> Iterator[ModuleType]:
    for package in (shared, services):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield import_module(found.name)
