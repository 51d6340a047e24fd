"""Listed bad inputs on every route: each is refused as a problem, at once, and no process logs a traceback."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

import aiohttp

from services.gateway.route_table import ROUTES
from shared.ids import new_id
from tests.conftest import PATIENCE
from tests.system.stack import Client, Stack

HANG_S = 2.0
PARALLEL = 8
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "null": b"null",
    "list": b"[]",
    "text": b'"x"',
    "number": b"1e400",
    "NaN": b"NaN",
    "twice": b'{"name": "a", "name": "b"}',
    "huge integer": b'{"limit": ' + b"9" * 400 + b"}",
    "half character": b'{"name": "\\ud800"}',
    "NUL": b'{"name": "a\\u0000b"}',
    "deep": b'{"a":' * 200 + b"1" + b"}" * 200,
    "deeper": b"[" * 100_000,
    "bad UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "operator": b'{"$where": "1", "name": {"$gt": ""}, "model": {"$ne": null}, "agentId": {"$gt": ""}}',
    "wrong types": b'{"name": [], "model": 7, "messages": {"a": 1}, "content": {"a": 1}, "agentId": [], "checks": 3}',
    "prototype": b'{"__proto__": {"x": 1}, "constructor": {"prototype": 1}}',
    "many members": b"{" + b",".join(b'"m%d": 0' % number for number in range(10_000)) + b"}",
    "too large": b'{"name": "' + b"x" * 400_000 + b'"}',
}
QUERIES = (
    "limit=0", "limit=-1", "limit=1e9", "limit=٣", "cursor=", "cursor=%00", "cursor=../../x", "order=up", "status=%FF",
    "after=%27%22", "q=%00", "q=" + "x" * 5000,
    "limit=1&limit=2", "metadata[$where]=1", "a[]=%ED%A0%80", "=", "&&&", "%",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=utf-7"},
    {"Content-Type": "\u00e4/\u00f6"},
    {"Content-Encoding": "gzip"},
    {"Idempotency-Key": "\u00e4"},
    {"Idempotency-Key": "x" * 5000},
    {"Last-Event-ID": "0-0"},
    {"Last-Event-ID": "99999999999999999999-1"},
    {"If-Match": "*"},
    {"If-Match": '"' + "9" * 40 + '"'},
    {"Prefer": "respond-async;;,,="},
    {"Accept": "\u00e4"},
    {"Range": "bytes=0-0,5-"},
    {"X-Forwarded-For": "'; DROP TABLE x"},
    {"X-HTTP-Method-Override": "DELETE"},
)
IDS = ("1", "..%2f..", "%00", "ses_%ff", "x" * 300, "$where", "*", "ses_01k00000000000000000000000/../x", "%E2%80%AE")


class Vector(NamedTuple):
    name: str
    method: str
    path: str
    data: bytes | None = None
    headers: Mapping[str, str] = MappingProxyType({})


def absent(path: str) -> str:
    """The path with ids of the right form that name nothing."""
    kinds = {"sessionId": "ses", "turnId": "trn", "agentId": "agt", "keyId": "key", "sourceId": "src"}
    return re.sub(r"\{(\w+)\}", lambda name: new_id(kinds.get(name[1], "agt")), path)


def vectors() -> Iterator[Vector]:
    json_type = {"Content-Type": "application/json"}
    for route in ROUTES:
        path = absent(route.path)
        if route.method in ("POST", "PUT", "PATCH"):
            for name, data in BODIES.items():
                yield Vector(f"body: {name}", route.method, path, data, json_type)
        for query in QUERIES:
            yield Vector(f"query: {query[:30]}", route.method, f"{path}?{query}", b"{", json_type)
        for headers in HEADERS:
            yield Vector(f"headers: {next(iter(headers))}", route.method, path, b"{", {**json_type, **headers})
        for wanted in IDS if "{" in route.path else ():
            yield Vector(f"id: {wanted[:20]}", route.method, re.sub(r"\{\w+\}", wanted, route.path), b"{", json_type)


def on_what_is_there(session_id: str, agent_id: str) -> Iterator[Vector]:
    """Bad bodies for what exists: those above meet an absent agent or session first."""
    paths = (
        "/chat/sessions",
        f"/chat/sessions/{session_id}/messages",
        "/chat/completions",
        f"/agents/{agent_id}/checks/run",
    )
    for path, (name, data) in product(paths, BODIES.items()):
        if path.endswith("/run") and not data:
            continue
        yield Vector(f"body: {name}", "POST", path, data, {"Content-Type": "application/json"})
    for name, data in BODIES.items():
        yield Vector(f"body: {name}", "PATCH", f"/agents/{agent_id}", data, {"Content-Type": "application/json"})


def tracebacks(stack: Stack) -> int:
    logs = (stack.data_dir / "logs").glob("*.log")
    return sum(log.read_text("utf-8", "replace").count("Traceback (most recent call last)") for log in logs)


# Answers without an end in sight: a query that is ignored gets all sessions of the stack.
STREAMED = ("text/event-stream", "application/x-ndjson")


async def test_every_listed_bad_input_on_every_route_is_refused_at_once(stack: Stack, clients: list[Client]) -> None:
    agent_id = await stack.publish("scripted/tokens=2,text=echo")
    session_id = await clients[0].session(agent_id)
    listed = [*on_what_is_there(session_id, agent_id), *vectors()]
    assert len(listed) >= 3000
    before, slots = tracebacks(stack), asyncio.Semaphore(PARALLEL)
    faults: list[tuple[Any, ...]] = []

    async def sent(number: int, vector: Vector) -> None:
        client = clients[number % len(clients)]
        url = f"{client.base_url}/api/v1{vector.path}"
        async with slots:
            started = time.monotonic()
            try:
                async with (
                    asyncio.timeout(HANG_S * PATIENCE),
                    client.http.request(
                        vector.method,
                        _exact(url),
                        data=vector.data,
                        headers={**client.headers, **vector.headers},
                        skip_auto_headers=["Content-Type"],
                    ) as answer,
                ):
                    body = b"" if answer.content_type in STREAMED else await answer.read()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                faults.append((vector.name, vector.method, vector.path[:80], repr(error), time.monotonic() - started))
                return
        is_problem = answer.status < 400 or b'"code":' in body or vector.method == "HEAD"
        if answer.status >= 500 or not is_problem or b"Traceback" in body:
            faults.append((vector.name, vector.method, vector.path[:80], answer.status, body[:200]))

    await asyncio.gather(*(sent(number, vector) for number, vector in enumerate(listed)))
    assert faults == []
    assert tracebacks(stack) == before


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url.replace("٣", "%D9%A3").replace(" ", "%20"), encoded=True)
