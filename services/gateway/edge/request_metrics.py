"""What a gateway counts of each request, when the headers of its answer are sent."""

import time
from functools import cache
from typing import Final

from aiohttp import web
from prometheus_client import Counter, Histogram

from shared.web.middleware import STARTED, route_name

REQUESTS: Final = Counter(
    "parley_requests_total", "Answered requests, by the template of their route", ["method", "route", "status"]
)
REQUEST_SECONDS: Final = Histogram(
    "parley_request_seconds",
    "From a request until the headers of its answer are sent; a stream's headers go out before its text",
    ["method", "route"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
)
UNKNOWN: Final = "unknown"


def count_answer(request: web.Request, status: int) -> None:
    """No label value is a client's: a request that no route takes counts as `unknown`, its method too."""
    route = route_name(request)
    requests, seconds = _series(UNKNOWN if route == UNKNOWN else request.method, route, status)
    requests.inc()
    started = request.get(STARTED)
    if started is not None:
        seconds.observe(time.monotonic() - started)


@cache
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Bounded as the labels are. `labels` would cost as much as all else here."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)
