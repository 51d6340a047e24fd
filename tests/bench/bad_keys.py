"""An attack with bad keys: what each request costs the gateway, and how many of them reach history and MongoDB."""

import asyncio
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Final

from shared.contracts.keys import new_secret
from tests.bench.processes import difference
from tests.bench.rig import Rig, open_wires
from tests.bench.scenarios import Effort, Row
from tests.bench.wire import http_request

CLIENTS: Final = 16
REQUESTS: Final = 8_000
# Calls of history that look for a key in MongoDB.
_LOOKUP: Final = "/keys/resolve"


def _mistyped() -> str:
    key = new_secret("live")
    return key[:-1] + ("0" if key[-1] != "0" else "1")


async def bad_keys(rig: Rig, effort: Effort) -> list[Row]:
    """`good` is a request with a good key, for comparison. The limit of failures per address is as it is delivered."""
    count, repeated = REQUESTS // (10 if effort.quick else 1), new_secret("live")
    attacks: dict[str, Callable[[int], list[str]]] = {
        "good": lambda number: [rig.key] * number,
        "repeated": lambda number: [repeated] * number,
        "mistyped": lambda number: [_mistyped() for _ in range(number)],
        "new": lambda number: [new_secret("live") for _ in range(number)],
    }
    runs: dict[str, list[Row]] = {name: [] for name in attacks}
    for _ in range(effort.rounds):
        for name, keys in attacks.items():
            runs[name].append(await _attacked(rig, keys(count)))
    rows = []
    for name, figures in runs.items():
        row: Row = {"scenario": f"{CLIENTS} clients with bad keys", "target": name, "rounds": len(figures)}
        rows.append(row | {what: median(one[what] for one in figures) for what in figures[0]})
    return rows


async def _attacked(rig: Rig, keys: list[str]) -> Row:
    wires = await open_wires(rig.gateway, CLIENTS)
    requests = [http_request("GET", "/api/v1/models", rig.gateway.host, key) for key in keys]
    looked_up, cpu, started = await _lookups(rig), rig.meter.cpu(), perf_counter()
    statuses: dict[int, int] = {}

    async def client(number: int) -> None:
        for request in requests[number::CLIENTS]:
            status = (await wires[number].ask(request)).status
            statuses[status] = statuses.get(status, 0) + 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    took_s, used = perf_counter() - started, difference(cpu, rig.meter.cpu())
    for wire in wires:
        wire.close()
    return {
        "gateway CPU ms/request": used["gateway"] * 1000 / len(keys),
        "history CPU ms/request": used["history"] * 1000 / len(keys),
        "requests/s": len(keys) / took_s,
        "lookups in MongoDB": float(await _lookups(rig) - looked_up),
        "401": float(statuses.get(401, 0)),
        "429": float(statuses.get(429, 0)),
    }


async def _lookups(rig: Rig) -> int:
    return sum(calls for route, (_, calls) in (await rig.waited_s()).items() if route.endswith(_LOOKUP))
