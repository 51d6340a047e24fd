"""Processes replaced one after the other under load: by another release and back, or by what a test says."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.system.chaos.checker import Violation, check
from tests.system.chaos.cluster import Cluster, default_size
from tests.system.chaos.completer import Completer
from tests.system.chaos.events import Accepted, History, Injected
from tests.system.chaos.harvest import remains, stored_turns, transcripts
from tests.system.chaos.talker import Talker
from tests.system.chaos.visitor import Visitor, World
from tests.system.upgrade.release import Release

# Readers of new kinds of data come before their writers; a rollback goes the other way.
ORDER: Final = ("history", "worker", "gateway")
CLIENTS: Final = 12
PATIENCE_S: Final = 90.0
# Load before, between and after the two rolls.
REST_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Result:
    accepted: int
    violations: list[Violation]
    crashes: list[str]
    streaks: dict[int, int]


async def run(release: Release, directory: Path, *, seed: int) -> Result:
    """The old release under load, each process replaced by the new one, and then each by the old one again.

    Raises deploy's StartError when a process of either release does not come up on the other's data.
    """
    cluster = Cluster(directory, lease_s=4.0, size=default_size(), release=release)
    return await under_load(cluster, directory, lambda world: _rolls(cluster, release, world), seed=seed)


async def under_load(
    cluster: Cluster, directory: Path, changes: Callable[[World], Awaitable[None]], *, seed: int
) -> Result:
    """What the checker finds after clients were at work before, during and after the changes."""
    history, zero = History(), time.monotonic()

    def clock() -> float:
        return time.monotonic() - zero

    async with cluster:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http:
            world = World(
                gateways=cluster.gateways,
                secret=cluster.secret,
                agents=cluster.agents,
                http=http,
                history=history,
                clock=clock,
                patience_s=PATIENCE_S,
            )
            clients = [_client(world, random.Random(f"{seed}/{number}"), number) for number in range(CLIENTS)]
            tasks = [asyncio.create_task(client.run()) for client in clients]
            try:
                await changes(world)
                world.calm_since = clock()
                world.closing.set()
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            reader = Visitor(world, random.Random(seed))
            history.extend(await remains(cluster, history, PATIENCE_S))
            history.extend(await stored_turns(cluster, PATIENCE_S))
            history.extend(await transcripts(reader, [each for each in world.sessions if each not in world.deleting]))
        crashes = list(cluster.crashes)
    accepted = sum(isinstance(event, Accepted) for event in history.events)
    history.write(directory / "history.jsonl")
    return Result(accepted=accepted, violations=check(history), crashes=crashes, streaks=dict(world.streaks))


async def _rolls(cluster: Cluster, release: Release, world: World) -> None:
    await asyncio.sleep(REST_S)
    for groups, to in ((ORDER, None), (ORDER[::-1], release)):
        began = world.clock()
        for name in members(cluster, groups):
            await cluster.replace(name, to)
            # Clients that were turned away need time at the next gateway.
            await asyncio.sleep(1.0)
        world.history.add(Injected(at=began, until=world.clock(), kind="roll services", target=str(to and to.tree)))
        await asyncio.sleep(REST_S)


def members(cluster: Cluster, groups: tuple[str, ...]) -> Iterator[str]:
    for group in groups:
        yield from cluster.members(group)


def _client(world: World, dice: random.Random, number: int) -> Talker | Completer:
    return Completer(world, dice) if number % 4 == 3 else Talker(world, dice)
