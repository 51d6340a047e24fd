"""What is measured. Each scenario runs all its targets in each round, `direct` first, and returns rows of the table."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from tests.bench.load import Figures, Load, question, run_load
from tests.bench.processes import loop_ms
from tests.bench.rig import Rig
from tests.bench.targets import Reading, Target

CALM_SECONDS: Final = 30

Row = dict[str, Any]
SERVICES: Final = ("gateway", "worker", "history", "redis", "mongodb", "model", "client")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much: `quick` is for a first impression."""

    quick: bool
    rounds: int


Scenario = Callable[[Rig, Effort], Awaitable[list[Row]]]


def model_name(tokens: int, delay_ms: int, first_ms: int) -> str:
    """The scripted model; it answers each question with a text of its own."""
    return f"scripted/tokens={tokens},delay={delay_ms},first={first_ms},text=echo"


async def _targets(rig: Rig, model: str, clients: int) -> list[Target]:
    return [rig.direct(model), await rig.completions(model), await rig.sessions(model, clients)]


async def _rounds(rig: Rig, targets: Sequence[Target], load: Load, rounds: int, label: str) -> dict[str, list[Figures]]:
    runs: dict[str, list[Figures]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets:
            runs[target.name].append(await run_load(target, load, rig.meter, f"{label} {number}"))
    return runs


async def warm_up(rig: Rig) -> None:
    """Every process has imported and connected what it needs."""
    model = model_name(8, 5, 20)
    for target in await _targets(rig, model, 40):
        await run_load(target, Load(clients=40, turns=2, tokens=8, spread_s=1.0), rig.meter, "warm up")


# --- streams under load


async def streams_100(rig: Rig, effort: Effort) -> list[Row]:
    """100 clients, each with one stream after the other."""
    load = Load(clients=100, turns=1 if effort.quick else 3, tokens=64, spread_s=1.4)
    targets = await _targets(rig, model_name(64, 20, 100), load.clients)
    return _load_rows("100 clients, 64 tokens at 20 ms", await _rounds(rig, targets, load, effort.rounds, "hundred"))


async def streams_100_long(rig: Rig, effort: Effort) -> list[Row]:
    """100 streams open all the time: turns so long that beginning them costs little."""
    tokens = 128 if effort.quick else 400
    load = Load(clients=100, turns=1, tokens=tokens, spread_s=2.0)
    targets = await _targets(rig, model_name(tokens, 20, 100), load.clients)
    return _load_rows(
        f"100 streams, {tokens} tokens at 20 ms", await _rounds(rig, targets, load, effort.rounds, "long")
    )


async def streams_500(rig: Rig, effort: Effort) -> list[Row]:
    """500 streams: first so slow that a direct run leaves half a core free, then at full rate.

    They come no faster than the MongoDB stand-in admits them, and last longer than that takes. One round for every
    three.
    """
    rows = []
    # 100 at the slow pace too: tokens that come one by one cost more each than those that come together, however many
    # streams there are.
    for clients, tokens, delay_ms in ((100, 125, 160), (500, 125, 160), (500, 400, 20)):
        load = Load(clients=clients, turns=1, tokens=tokens, spread_s=16.0)
        targets = await _targets(rig, model_name(tokens, delay_ms, 100), load.clients)
        runs = await _rounds(rig, targets, load, max(1, effort.rounds // 3), f"many {clients} {delay_ms}")
        rows += _load_rows(f"{clients} streams, {tokens} tokens at {delay_ms} ms", runs)
    return rows


def _load_rows(title: str, runs: dict[str, list[Figures]]) -> list[Row]:
    rows = []
    for name, figures in runs.items():
        row: Row = {"scenario": title, "target": name, "rounds": len(figures)}
        row["gateway + worker"] = _median(figures, lambda one: one.per_1000("gateway", "worker"))
        row |= {service: median(one.per_1000(service) for one in figures) for service in SERVICES}
        row |= {
            "TTFT ms": _median(figures, lambda one: one.first_s * 1000),
            "gap p50 ms": _median(figures, lambda one: one.gap_p50_s * 1000),
            "gap p99 ms": _median(figures, lambda one: one.gap_p99_s * 1000),
            "tokens/s": _median(figures, lambda one: one.tokens_per_s),
            "fullest": figures[-1].busiest,
        }
        rows.append(row)
    return rows


def _median(figures: Sequence[Figures], of: Callable[[Figures], float]) -> float:
    return median(of(one) for one in figures)


# --- one client alone


async def sequential(rig: Rig, effort: Effort) -> list[Row]:
    """What Parley adds to a model's first token, and to a whole turn of a model that answers at once."""
    rows = []
    for title, tokens, first_ms, delay_ms in (("first token at 100 ms", 8, 100, 5), ("64 tokens at once", 64, 0, 0)):
        targets = await _targets(rig, model_name(tokens, delay_ms, first_ms), 1)
        load = Load(clients=1, turns=10 if effort.quick else 30, tokens=tokens, spread_s=0)
        runs: dict[str, list[_Timed]] = {target.name: [] for target in targets}
        for number in range(effort.rounds):
            for target in targets:
                runs[target.name].append(await _timed(rig, target, load, f"{title} {number}"))
        direct = _Split.of(runs["direct"])
        for name, timed in runs.items():
            split = _Split.of(timed)
            row: Row = {"scenario": f"one client, {title}", "target": name, "rounds": len(timed)}
            row |= {
                "TTFT ms": split.first_ms,
                "TTFT added ms": split.first_ms - direct.first_ms,
                "turn added ms": split.whole_ms - direct.whole_ms,
                "a fixed loop ms": median(one.loop_ms for one in timed),
            }
            rows.append(row | (split.row(direct) if name == "session" else {}))
    return rows


@dataclass(frozen=True)
class _Timed:
    """One target's run: readings, when the model got each question, and history's wait for MongoDB by route.

    `loop_ms`: how fast the machine was just then.
    """

    readings: list[Reading]
    asked_at: list[float]
    mongodb_ms: dict[str, float]
    loop_ms: float


async def _timed(rig: Rig, target: Target, load: Load, label: str) -> _Timed:
    before = await rig.waited_s()
    speed = loop_ms()
    figures = await run_load(target, load, rig.meter, label)
    speed = (speed + loop_ms()) / 2
    after, asked = await rig.waited_s(), await rig.asked_at()
    spent = {
        route: (seconds - before.get(route, (0.0, 0))[0], calls - before.get(route, (0.0, 0))[1])
        for route, (seconds, calls) in after.items()
    }
    means = {route.rpartition("/")[2]: 1000 * seconds / calls for route, (seconds, calls) in spent.items() if calls}
    return _Timed(figures.readings, [asked[question(label, 0, turn)] for turn in range(load.turns)], means, speed)


@dataclass(frozen=True)
class _Split:
    """Where the time of a turn goes; medians in ms."""

    first_ms: float
    whole_ms: float
    to_first_ms: float  # From the question at the model to the first text at the client.
    timed: Sequence[_Timed]

    @classmethod
    def of(cls, timed: Sequence[_Timed]) -> "_Split":
        pairs = [
            (reading, asked_at) for one in timed for reading, asked_at in zip(one.readings, one.asked_at, strict=True)
        ]
        return cls(
            _ms(reading.first_s for reading, _ in pairs),
            _ms(reading.whole_s for reading, _ in pairs),
            _ms(reading.answer.sent_at + reading.first_s - asked_at for reading, asked_at in pairs),
            timed,
        )

    def row(self, direct: "_Split") -> Row:
        """A session's. What is not spent waiting for MongoDB is Parley's own."""
        row: Row = {}
        admit, claim, begin = (
            median(one.mongodb_ms.get(route, 0.0) for one in self.timed) for route in ("turns", "claim", "attempts")
        )
        row["admit + enqueue ms"] = self._between(lambda reading, _, at: at["queued"] - reading.answer.sent_at)
        row["of it MongoDB ms"] = admit
        row["start + claim + ask ms"] = self._between(lambda _, asked_at, at: asked_at - at["queued"])
        row["of that MongoDB ms"] = claim
        row["out ms"] = self.to_first_ms - direct.to_first_ms
        row["added besides MongoDB ms"] = self.first_ms - direct.first_ms - admit - claim
        row["attempt, beside the model: MongoDB ms"] = begin
        row["end ms"] = self._between(lambda reading, _, at: at["done"] - at["last delta"])
        return row

    def _between(self, step: Callable[[Reading, float, dict[str, float]], float]) -> float:
        return _ms(
            step(reading, asked_at, _event_times(reading))
            for one in self.timed
            for reading, asked_at in zip(one.readings, one.asked_at, strict=True)
        )


def _event_times(reading: Reading) -> dict[str, float]:
    events = reading.answer.events()
    last_delta = [event.at for event in events if event.name == "delta"][-1]
    return {event.name: event.at for event in reversed(events)} | {"last delta": last_delta}


def _ms(values: Iterable[float]) -> float:
    return median(values) * 1000


async def long_session(rig: Rig, effort: Effort) -> list[Row]:
    """Whether a turn's price grows with the transcript before it.

    The last turns are compared with the first ones, and, since a minute lies between those, with new sessions' turns
    in between.
    """
    turns = 300 if effort.quick else 2000
    model = model_name(8, 0, 0)
    target = await rig.sessions(model, 1)

    async def firsts(target: Target, turns: int, label: str) -> list[float]:
        figures = await run_load(target, Load(clients=1, turns=turns, tokens=8, spread_s=0), rig.meter, label)
        return [reading.first_s * 1000 for reading in figures.readings]

    early = (await firsts(target, turns, "long session"))[5:20]
    late, new = list[float](), list[float]()
    for number in range(effort.rounds):
        late += await firsts(target, 15, f"long session again {number}")
        new += (await firsts(await rig.sessions(model, 1), 20, f"new session {number}"))[5:]
    row: Row = {
        "scenario": f"a session of {turns} turns",
        "target": "session",
        "rounds": effort.rounds,
        "TTFT ms": median(late),
    }
    row |= {"TTFT of turns 6 to 20 ms": median(early), "last by first": median(late) / median(early)}
    return [row | {"TTFT of new sessions in between ms": median(new), "last by new": median(late) / median(new)}]


async def turn_rate(rig: Rig, effort: Effort) -> list[Row]:
    """How many short turns a second this stack carries, and what a turn costs."""
    load = Load(clients=32, turns=3 if effort.quick else 6, tokens=1, spread_s=0)
    targets = (await _targets(rig, model_name(1, 0, 0), load.clients))[1:]
    rows = []
    for name, figures in (await _rounds(rig, targets, load, effort.rounds, "rate")).items():
        row: Row = {"scenario": "32 clients, turns of 1 token", "target": name, "rounds": len(figures)}
        row["turns/s"] = _median(figures, lambda one: one.tokens_per_s)
        for service in SERVICES[:5]:
            row[f"{service} ms/turn"] = median(one.per_1000(service) for one in figures)
        rows.append(row | {"TTFT ms": _median(figures, lambda one: one.first_s * 1000)})
    return rows


async def wait_until_idle(rig: Rig) -> None:
    """Waits until the services are idle, at most half a minute: one measurement must not affect the next."""
    for _ in range(CALM_SECONDS):
        before = rig.meter.cpu()
        await asyncio.sleep(1.0)
        after = rig.meter.cpu()
        if sum(after[name] - before[name] for name in ("gateway", "worker", "history")) < 0.2:
            return
