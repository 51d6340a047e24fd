"""One chaos run: a cluster under load, a schedule of faults, the calm after it, and the verdict."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tests.system.chaos.author import Author
from tests.system.chaos.chatter import Chatter
from tests.system.chaos.checker import Violation, check
from tests.system.chaos.cluster import EMBEDDED_REDIS, Cluster, default_size
from tests.system.chaos.completer import Completer
from tests.system.chaos.events import History
from tests.system.chaos.harvest import counted, remains, reservations, stored_turns, transcripts
from tests.system.chaos.injector import Injector
from tests.system.chaos.knowledge_stores import knowledge
from tests.system.chaos.prober import Prober
from tests.system.chaos.receiver import Receiver
from tests.system.chaos.redis_servers import RedisChoice
from tests.system.chaos.schedule import schedule
from tests.system.chaos.subscription import subscribe, told
from tests.system.chaos.talker import Talker
from tests.system.chaos.visitor import Visitor, World
from tests.system.chaos.watch import watching

WARM_UP_S: Final = 2.0
RECOVERY_S: Final = 60.0
# A reconciler has its interval, and an ingest worker the pause after a failure.
QUIET_WITHIN_S: Final = 30.0
# Each step of the harvest may wait for as long as the run's patience.
HARVEST_S: Final = 300.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`patience_s`: how long after the last fault every turn must have ended. `prometheus`: a program that watches.

    `authors` add to knowledge and purge it, beside the clients. `slack`: how many times the promised time a client may
    have to wait, so that no verdict of a test hangs on its host.
    """

    seed: int
    seconds: float
    faults: Mapping[str, int]
    clients: int = 30
    authors: int = 1
    lease_s: float = 4.0
    think_s: float = 2.0
    patience_s: float = 60.0
    slack: float = 1.0
    mutant: str | None = None
    redis: RedisChoice = EMBEDDED_REDIS
    prometheus: str | None = None


@dataclass(kw_only=True)
class Result:
    plan: Plan
    redis: str
    history: History
    injected: Counter[str]
    missed: list[str]
    crashes: list[str]
    violations: list[Violation] = field(default_factory=list)
    streaks: Counter[int] = field(default_factory=Counter)
    sent_on: int = 0
    receiver: Counter[str] = field(default_factory=Counter)
    recovery_s: float = 0.0
    wall_s: float = 0.0
    alerts: list[str] | None = None

    @property
    def fewer(self) -> list[str]:
        """Faults that were scheduled and did not take effect: luck is no proof."""
        plan = self.plan.faults
        return [f"{kind}: {self.injected[kind]} of {plan[kind]}" for kind in plan if self.injected[kind] < plan[kind]]

    @property
    def passed(self) -> bool:
        return not (self.violations or self.fewer or self.crashes)


async def run(plan: Plan, directory: Path) -> Result:
    """Raises deploy's StartError when the stack does not come up. `alerts` are those that fired, if anyone watched."""
    began = time.monotonic()
    cluster = Cluster(
        directory,
        lease_s=plan.lease_s,
        size=default_size(),
        mutant=plan.mutant,
        redis=plan.redis,
        reads_sources=plan.authors > 0,
    )
    async with cluster:
        if plan.prometheus is None:
            result = await run_on(cluster, plan)
        else:
            async with watching(cluster, plan.prometheus, directory) as watch:
                result = await run_on(cluster, plan)
                result.alerts = sorted(await watch.fired())
    result.violations = check(result.history, plan.slack)
    result.wall_s = time.monotonic() - began
    return result


async def run_on(cluster: Cluster, plan: Plan) -> Result:
    """The load and the faults on a cluster that stays. The result has no verdict yet: that takes a while."""
    history = History()
    redis = await cluster.redis.description()
    zero = time.monotonic()

    def clock() -> float:
        return time.monotonic() - zero - WARM_UP_S

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    receiver = Receiver(history, clock, random.Random(f"{plan.seed}/receiver"))
    async with aiohttp.ClientSession(connector=connector) as http, receiver:
        world = World(
            gateways=cluster.gateways,
            secret=cluster.secret,
            agents=cluster.agents,
            http=http,
            history=history,
            clock=clock,
            patience_s=plan.patience_s,
            think_s=plan.think_s,
        )
        await subscribe(cluster, receiver)
        zero = time.monotonic()
        receiver.hurt()
        authors = [Author(world, random.Random(f"{plan.seed}/author {number}")) for number in range(plan.authors)]
        injector = Injector(cluster, history, clock, Prober(world, random.Random(f"{plan.seed}/prober")))
        recovery_s = await _load_and_hurt(plan, world, injector, cluster, authors)
        receiver.heal()
        reader = Visitor(world, random.Random(plan.seed))
        world.patience_s += HARVEST_S
        history.extend(await remains(cluster, history, plan.patience_s))
        history.extend(await stored_turns(cluster, plan.patience_s))
        history.extend(await reservations(cluster, plan.patience_s))
        history.extend(await told(cluster, plan.patience_s))
        history.extend(await knowledge(cluster, history, max(plan.patience_s, QUIET_WITHIN_S)))
        for author in authors:
            history.extend(await author.listed())
        usage, billed = await counted(cluster, reader)
        history.extend([usage, *billed])
        history.extend(await transcripts(reader, [each for each in world.sessions if each not in world.deleting]))
    return Result(
        plan=plan,
        redis=redis,
        history=history,
        injected=injector.counts,
        missed=injector.missed,
        crashes=list(cluster.crashes),
        streaks=world.streaks,
        sent_on=world.sent_on,
        receiver=receiver.did,
        recovery_s=recovery_s,
    )


async def _load_and_hurt(
    plan: Plan, world: World, injector: Injector, cluster: Cluster, authors: Sequence[Author]
) -> float:
    """Clients run from before the first fault until after the last. How long the stack took to be all there again."""
    clients = [*authors, *(_client(world, plan.seed, number) for number in range(plan.clients))]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    try:
        faults = asyncio.create_task(_hurt(plan, injector))
        tasks.append(faults)
        # Clients go on until they are told to stop: one that ends before the faults do has failed, and the suite with
        # it.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        healed = world.clock()
        await _until_ready(cluster)
        world.calm_since = world.clock()
        recovery_s = world.calm_since - healed
        world.closing.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return recovery_s


async def _hurt(plan: Plan, injector: Injector) -> None:
    await injector.run(schedule(plan.faults, seed=plan.seed, seconds=plan.seconds))
    await asyncio.sleep(max(0.0, plan.seconds - injector.now()))


async def _until_ready(cluster: Cluster) -> None:
    """Raises TimeoutError when a process does not come back."""
    deadline = time.monotonic() + RECOVERY_S
    while not cluster.all_ready():
        if time.monotonic() > deadline:
            late = ", ".join(name for name in cluster.children if not cluster.is_ready(name))
            raise TimeoutError(f"not ready {RECOVERY_S:g} s after the last fault: {late}")
        await asyncio.sleep(0.05)


def _client(world: World, seed: int, number: int) -> Talker | Completer | Chatter:
    """Every fifth one is an OpenAI client, and every fifth one of a chat kit."""
    dice = random.Random(f"{seed}/{number}")
    if number % 5 == 3:
        return Chatter(world, dice)
    return Completer(world, dice) if number % 5 == 4 else Talker(world, dice)
