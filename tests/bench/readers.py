"""Streams that mostly wait: thousands of readers of a few slow turns, and clients that never read."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import orjson

from tests.bench.load import Figures, Load, run_load
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name
from tests.bench.wire import Answer, BadAnswer, Wire, http_request

TURNS: Final = 4
OPENING: Final = 50
SILENCE_S: Final = 10.0
# What the kernel holds for a client that does not read is no memory of the gateway's.
SMALL_BUFFER: Final = 4096


async def idle_streams(rig: Rig, effort: Effort) -> list[Row]:
    """Memory of an open stream, what heartbeats cost, and how long one event takes to reach every reader."""
    readers = 1000 if effort.quick else 5000
    # Long enough before its first token for all readers to come, and for heartbeats to be counted.
    first_s = 12 + readers / 250 + SILENCE_S
    before = _gateway_kib(rig)
    asked = perf_counter()
    places = await _started_turns(rig, f"scripted/tokens=3,delay=4000,first={first_s * 1000:.0f},text=echo")
    wires, dones = await _follow(rig, places, readers)
    opened_s = perf_counter() - asked
    grown = _gateway_kib(rig) - before
    cpu, started = rig.meter.cpu(), perf_counter()
    await asyncio.sleep(SILENCE_S)
    spent, silent_s = rig.meter.cpu(), perf_counter() - started
    if perf_counter() - asked > first_s:
        raise BadAnswer("the readers came too slowly: the model had begun before heartbeats were counted")
    await asyncio.gather(*dones)
    spread = _spread_s([wire.answer(0.0) for wire in wires])
    for wire in wires:
        wire.close()
    return [
        {
            "scenario": f"{readers} readers of {TURNS} slow turns",
            "target": "session",
            "rounds": 1,
            "opened/s": readers / opened_s,
            "KiB per stream": grown / readers,
            "heartbeats, cores of the gateway": (spent["gateway"] - cpu["gateway"]) / silent_s,
            "heartbeats, cores of history": (spent["history"] - cpu["history"]) / silent_s,
            "one event to all ms": spread * 1000,
        }
    ]


async def never_reading(rig: Rig, effort: Effort) -> list[Row]:
    """What clients that take nothing cost the gateway and the others."""
    silent = 200 if effort.quick else 500
    load = Load(clients=50, turns=2 if effort.quick else 4, tokens=64, spread_s=1.4)
    others = await rig.sessions(model_name(64, 20, 100), load.clients)
    place = await _finished_turn(rig)
    alone = await run_load(others, load, rig.meter, "alone")
    before = _gateway_kib(rig)
    running = asyncio.create_task(run_load(others, load, rig.meter, "beside"))
    wires = await asyncio.gather(*(_never_read(rig, place) for _ in range(silent)))
    peak = before
    while not running.done():
        peak = max(peak, _gateway_kib(rig))
        await asyncio.wait([running], timeout=0.1)
    beside: Figures = await running
    for wire in wires:
        wire.close()
    return [
        {
            "scenario": f"{silent} clients that never read beside 50 streams",
            "target": "session",
            "rounds": 1,
            "KiB per stream": (peak - before) / silent,
            "gap p99 before ms": alone.gap_p99_s * 1000,
            "gap p99 ms": beside.gap_p99_s * 1000,
        }
    ]


def _gateway_kib(rig: Rig) -> int:
    return rig.meter.rss()["gateway"]


async def _started_turns(rig: Rig, model: str) -> list[str]:
    """Paths of turns that have just been asked for."""
    return [await _start(rig, model) for _ in range(TURNS)]


async def _start(rig: Rig, model: str) -> str:
    session = await rig.session(model)
    wire = await rig.gateway.open()
    body = orjson.dumps({"content": "Wait for it?"})
    request = http_request("POST", f"/api/v1/chat/sessions/{session}/messages", rig.gateway.host, rig.key, body)
    answer = await wire.ask(request.replace(b"\r\nHost:", b"\r\nPrefer: respond-async\r\nHost:", 1))
    wire.close()
    turn: dict[str, Any] = orjson.loads(answer.body())["data"]
    return f"/chat/sessions/{session}/turns/{turn['turnId']}"


async def _finished_turn(rig: Rig) -> str:
    """A turn with so long an answer that it cannot vanish in buffers. Its log is still there."""
    place = await _start(rig, "scripted/tokens=40000,delay=0")
    deadline = perf_counter() + 30.0
    while (await rig.api("GET", place))["data"]["status"] != "completed":
        if perf_counter() > deadline:
            raise BadAnswer("the long turn did not end")
        await asyncio.sleep(0.1)
    return place


def _events_request(rig: Rig, place: str) -> bytes:
    return http_request("GET", f"/api/v1{place}/events", rig.gateway.host, rig.key)


async def _follow(rig: Rig, places: Sequence[str], readers: int) -> tuple[list[Wire], list["asyncio.Future[None]"]]:
    slots = asyncio.Semaphore(OPENING)

    async def one(number: int) -> tuple[Wire, "asyncio.Future[None]"]:
        async with slots:
            wire = await rig.gateway.open()
            done = wire.send(_events_request(rig, places[number % TURNS]))
            deadline = perf_counter() + 20.0
            while not wire.started:
                if perf_counter() > deadline:
                    raise BadAnswer("a stream did not begin")
                await asyncio.sleep(0.01)
            return wire, done

    pairs = await asyncio.gather(*(one(number) for number in range(readers)))
    return [wire for wire, _ in pairs], [done for _, done in pairs]


def _spread_s(answers: Sequence[Answer]) -> float:
    """The longest time between the first and the last reader that a delta reached."""
    times: dict[tuple[int, bytes], list[float]] = {}
    for number, answer in enumerate(answers):
        for event in answer.events():
            if event.name == "delta":
                times.setdefault((number % TURNS, event.data), []).append(event.at)
    if any(len(heard) != len(answers) // TURNS for heard in times.values()):
        raise BadAnswer("not every reader was told every delta")
    return max(max(heard) - min(heard) for heard in times.values())


async def _never_read(rig: Rig, place: str) -> Wire:
    wire = await Wire.open(*rig.gateway, receive_buffer=SMALL_BUFFER)
    wire.send(_events_request(rig, place))
    wire.stop_reading()
    return wire
