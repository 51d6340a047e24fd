"""Loaded by Schemathesis: bodies name an agent that exists, every exchange is counted, and one rule for overload.

Generated bodies get further with the agent than with its absence. The embedded database has calls that time out while
other programs use the cores, which is answered with 503 `dependency_unavailable`, as it should be; other answers come
late then. Such a request is sent again when the stack is quiet, some times. What fails each time is a finding, and so
is any other 5xx at once.
"""

import atexit
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import requests
import schemathesis

AGENT_ID: Final = os.environ.get("PARLEY_TEST_AGENT_ID", "")
AUTHORIZATION: Final = os.environ.get("PARLEY_TEST_AUTHORIZATION", "")
COUNTS_FILE: Final = os.environ.get("PARLEY_TEST_COUNTS_FILE", "")
HANG_S: Final = 2.0
REPEATS: Final = 3
# A read through history and the database, which takes some milliseconds.
QUIET_PATH: Final = "/api/v1/agents?limit=1"
QUIET_S: Final = 0.2
PLACES: Final = ("starting_after", "last-event-id")
PLACE: Final = re.compile(r"\s*\d+-\d+\s*$")
STREAM: Final = "text/event-stream"
_WAITS_S: Final = 20.0
_WAITS_FOR_QUIET_S: Final = 60.0
_counts: Counter[str] = Counter()
_late: list[str] = []


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if isinstance(body, dict):
        return {
            name: AGENT_ID if name in ("model", "agentId") and isinstance(value, str) else value
            for name, value in body.items()
        }
    return body


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A completion's stream is not continued from a place: a long run may come after its log has expired.

    Then the stream ends with an error chunk and a broken connection, as it should, and that is a network error here.
    """
    if case.path.endswith("/chat/completions/{completionId}"):
        for given in (case.query or {}, case.headers or {}):
            for name in [name for name, value in given.items() if name.lower() in PLACES and PLACE.match(str(value))]:
                del given[name]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    _counts["requests"] += 1
    _counts[f"{response.status_code // 100}xx"] += 1
    if response.status_code < 300:
        _counts[f"done {case.method} {case.path}"] += 1
    for _ in range(REPEATS):
        if not (_is_overloaded(response) or _is_late(response)):
            return
        _counts["repeated after 503" if _is_overloaded(response) else "repeated late"] += 1
        with requests.Session() as session:
            _wait_until_quiet(session, response.request)
            with session.send(response.request, timeout=_WAITS_S, stream=True) as again:
                if _is_stream(again.headers.get("content-type", "")):
                    return
                _replace(response, again)
    if _is_late(response):
        _late.append(f"{case.method} {case.path}: {response.elapsed:.1f} s, {response.status_code}")


def _wait_until_quiet(session: requests.Session, request: Any) -> None:
    address = urlsplit(request.url)
    url, until = f"{address.scheme}://{address.netloc}{QUIET_PATH}", time.monotonic() + _WAITS_FOR_QUIET_S
    headers = {"Authorization": AUTHORIZATION}
    while time.monotonic() < until:
        if session.get(url, headers=headers, timeout=_WAITS_S).elapsed.total_seconds() < QUIET_S:
            return


@schemathesis.hook
def after_network_error(context: Any, case: Any, request: Any) -> None:
    _counts["network errors"] += 1


def _is_overloaded(response: Any) -> bool:
    return response.status_code == 503 and b'"code":"dependency_unavailable"' in response.content


def _is_late(response: Any) -> bool:
    return response.elapsed > HANG_S and not any(map(_is_stream, response.headers.get("content-type", [])))


def _is_stream(content_type: str) -> bool:
    return content_type.startswith(STREAM)


def _replace(response: Any, again: requests.Response) -> None:
    """Schemathesis takes a changed answer only in the place of the first one."""
    fresh = type(response).from_requests(again, verify=response.verify)
    for name in type(response).__slots__:
        setattr(response, name, getattr(fresh, name))


def _write_counts() -> None:
    Path(COUNTS_FILE).write_bytes(orjson.dumps({"counts": _counts, "late again": _late}))


if COUNTS_FILE:
    atexit.register(_write_counts)
