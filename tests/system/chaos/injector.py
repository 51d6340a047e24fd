"""Carries a schedule out on a cluster, and records each fault once it has taken effect."""

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import zip_longest
from typing import Any, Final

from pymongo import MongoClient
from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.local.supervisor import StartError
from shared.tasks import end_tasks
from tests.system.chaos.cluster import SERVICES, Cluster
from tests.system.chaos.events import History, Injected
from tests.system.chaos.link import Link
from tests.system.chaos.prober import Prober
from tests.system.chaos.schedule import Fault
from tests.system.chaos.visitor import GaveUp

# NotWritablePrimary, ShutdownInProgress, InterruptedAtShutdown (which drivers retry), OutOfDiskSpace, InternalError
# (which they do not).
_CODES: Final = (10107, 91, 11600, 14031, 1)
_TARGET_PATIENCE_S: Final = 45.0
_NUMBER: Final = re.compile(r"-\d+")


class NoTarget(Exception):
    """Nothing that the fault could be done to came up in time."""


class Injector:
    """`counts` are the faults that took effect, by kind."""

    def __init__(self, cluster: Cluster, history: History, clock: Callable[[], float], prober: Prober) -> None:
        self.counts: Counter[str] = Counter()
        self.missed: list[str] = []
        self._cluster = cluster
        self._history = history
        self._clock = clock
        self._prober = prober
        self._rolling = asyncio.Lock()
        self._outage = asyncio.Lock()
        self._hurt: set[str] = set()  # Processes and links that have a fault just now.

    def now(self) -> float:
        """Seconds of the run."""
        return self._clock()

    async def run(self, faults: list[Fault]) -> None:
        """Until the last fault is over and everything is healed. Faults overlap."""
        tasks = [asyncio.create_task(self._inject(fault)) for fault in faults]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.heal()

    async def heal(self) -> None:
        for link in self._cluster.links.values():
            link.heal()
        for name in list(self._cluster.children):
            with suppress(ProcessLookupError):
                self._cluster.signal(name, signal.SIGCONT)
        with suppress(Exception):  # The server may be restarting: then its fail points are gone.
            await self._mongodb({"configureFailPoint": "failCommand", "mode": "off"})

    async def _inject(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at_s - self._clock()))
        verb, _, rest = fault.kind.partition(" ")
        actions: dict[str, Callable[[Fault, str], Awaitable[str]]] = {
            "kill": self._kill,
            "term": self._term,
            "stop": self._stop,
            "roll": self._roll,
            "cut": self._cut_clients,
            "flush": self._flush,
            "sleep": self._sleep,
            "fail": self._fail_mongodb,
            "link": self._hurt_link,
            "down": self._take_down,
            "fail-over": self._fail_over,
        }
        began = self._clock()
        try:
            target = await actions[verb](fault, rest)
        except (NoTarget, GaveUp, StartError, RedisError, OSError) as error:
            self.missed.append(f"{fault.kind}: {type(error).__name__} {error}")
            return
        self.counts[fault.kind] += 1
        self._history.add(Injected(at=began, until=self._clock(), kind=fault.kind, target=target))

    # --- processes

    async def _oldest(self, group: str) -> str:
        """The one that has run for longest: the supervisor makes those wait that end soon after their start."""
        free = await self._free(group)
        return min(free, key=lambda name: self._cluster.ready_at[name])

    async def _member(self, fault: Fault, group: str) -> str:
        free = await self._free(group)
        return free[fault.choice % len(free)]

    async def _free(self, group: str) -> list[str]:
        """The ready processes of the group that have no fault now; waits for one."""
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        while time.monotonic() < deadline:
            members = await self._primary() if group == "redis" else self._cluster.members(group)
            free = [name for name in members if self._cluster.is_ready(name) and name not in self._hurt]
            if free:
                return free
            await asyncio.sleep(0.05)
        raise NoTarget(group)

    async def _primary(self) -> list[str]:
        """A fault of a replica would go unnoticed."""
        number = await self._cluster.redis.primary()
        return [] if number is None else [self._cluster.redis.names[number]]

    async def _kill(self, _: Fault, group: str) -> str:
        name = await self._oldest(group)
        await self._end(name, signal.SIGKILL)
        return name

    async def _term(self, _: Fault, group: str) -> str:
        name = await self._oldest(group)
        await self._end(name, signal.SIGTERM)
        return name

    async def _end(self, name: str, number: signal.Signals) -> None:
        """Returns when the process is gone; one that stays does not count as a fault."""
        self._cluster.end(name, number)
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        while self._cluster.is_ending(name):
            if time.monotonic() > deadline:
                raise NoTarget(f"{name} did not end")
            await asyncio.sleep(0.02)

    async def _stop(self, fault: Fault, group: str) -> str:
        """For two to three leases; a store for less than a lease and a half."""
        name = await self._member(fault, group)
        leases = (2.0 + fault.strength) if group not in ("redis", "mongodb") else (0.2 + fault.strength)
        pid = self._cluster.children[name].pid
        self._hurt.add(name)
        try:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(leases * self._cluster.lease_s)
        finally:
            self._hurt.discard(name)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return name

    async def _roll(self, _: Fault, __: str) -> str:
        """A rolling restart: SIGTERM one after the other, each only once the one before is ready again.

        One of each service in turn, because a request that was turned away by one gateway needs time at the next.
        """
        rounds = zip_longest(*(self._cluster.members(group) for group in SERVICES))
        async with self._rolling:
            for name in [name for names in rounds for name in names if name is not None]:
                await self._until_ready(name)
                await self._end(name, signal.SIGTERM)
                await self._until_ready(name)
        return "worker, history, gateway"

    async def _take_down(self, fault: Fault, rest: str) -> str:
        """Takes one store away for some seconds. The prober sends turns meanwhile, and until one completes again."""
        store, text, _ = rest.split()
        seconds = float(text)
        async with self._outage:
            sessions = await self._prober.prepare(seconds)
            await self._until_ready(store)
            self._hurt.add(store)
            knocking: asyncio.Task[None] | None = None
            try:
                await self._cluster.take_down(store)
                knocking = asyncio.create_task(self._prober.knock(sessions, fault.kind, seconds))
                await asyncio.sleep(seconds)
                await end_tasks([knocking])
                await self._cluster.bring_back(store)
                await self._prober.recover(sessions[0], fault.kind)
            finally:
                if knocking is not None:
                    await end_tasks([knocking])
                self._hurt.discard(store)
        return store

    async def _fail_over(self, _: Fault, __: str) -> str:
        """Kills the primary, and brings it back once the Sentinels have made another one."""
        if not self._cluster.redis.watched:
            raise NoTarget("this Redis is not behind Sentinel")
        async with self._outage:
            (name,) = await self._free("redis")
            self._hurt.add(name)
            try:
                await self._cluster.take_down(name)
                await self._until_promoted(name)
            finally:
                await self._cluster.bring_back(name)
                self._hurt.discard(name)
        return name

    async def _until_promoted(self, old: str) -> None:
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        while await self._primary() in ([], [old]):
            if time.monotonic() > deadline:
                raise NoTarget("no other primary")
            await asyncio.sleep(0.1)

    async def _until_ready(self, name: str) -> None:
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        while not self._cluster.is_ready(name):
            if time.monotonic() > deadline:
                raise NoTarget(name)
            await asyncio.sleep(0.05)

    # --- Redis

    async def _redis(self, *command: Any) -> Any:
        """One command, repeated while the server restarts or does not answer."""
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        while True:
            try:
                url = await self._cluster.redis.primary_url()
                async with Redis.from_url(url, socket_timeout=10.0) as client:
                    return await client.execute_command(*command)
            except (RedisError, OSError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _cut_clients(self, _: Fault, kind: str) -> str:
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        while not await self._redis("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"):
            if time.monotonic() > deadline:
                raise NoTarget(f"no {kind} client")
            await asyncio.sleep(0.05)
        return f"redis {kind} clients"

    async def _flush(self, _: Fault, __: str) -> str:
        await self._redis("FLUSHALL")
        return "redis"

    async def _sleep(self, fault: Fault, _: str) -> str:
        await self._redis("DEBUG", "SLEEP", f"{0.5 + 2.5 * fault.strength:.2f}")
        return "redis"

    # --- MongoDB

    async def _mongodb(self, command: dict[str, Any]) -> None:
        def run() -> None:
            client: MongoClient[dict[str, Any]] = MongoClient(self._cluster.mongodb_uri, serverSelectionTimeoutMS=5000)
            try:
                client.admin.command(command)
            finally:
                client.close()

        await asyncio.to_thread(run)

    async def _fail_mongodb(self, fault: Fault, rest: str) -> str:
        """`before`: refused · `after`: applied, and answered with an error all the same."""
        await self._member(fault, "mongodb")
        code = _CODES[fault.choice % len(_CODES)]
        times = {"times": 1 + round(8 * fault.strength)}
        if rest.endswith("before"):
            data: dict[str, Any] = {"failCommands": ["insert", "update", "find"], "errorCode": code}
        else:
            data = {"failCommands": ["insert", "update"], "writeConcernError": {"code": 91, "errmsg": "chaos"}}
        try:
            await self._mongodb({"configureFailPoint": "failCommand", "mode": times, "data": data})
        except Exception as error:
            raise NoTarget("mongodb") from error
        return "mongodb"

    # --- links

    async def _hurt_link(self, fault: Fault, how: str) -> str:
        """One that is in use and has no fault: first its sort is chosen, since some are many and others few."""
        deadline = time.monotonic() + _TARGET_PATIENCE_S
        links = self._cluster.links
        while not (free := [name for name, link in links.items() if link.connections and name not in self._hurt]):
            if time.monotonic() > deadline:
                raise NoTarget("no link is in use")
            await asyncio.sleep(0.05)
        sorts = sorted({link_sort(name) for name in free})
        sort, choice = sorts[fault.choice % len(sorts)], fault.choice // len(sorts)
        alike = [name for name in free if link_sort(name) == sort]
        name = alike[choice % len(alike)]
        self._hurt.add(name)
        try:
            await _hurt(links[name], how, fault.strength)
        finally:
            self._hurt.discard(name)
            links[name].heal()
        return name


def link_sort(name: str) -> str:
    """`gateway-1 to history-2` → `gateway to history`."""
    return _NUMBER.sub("", name)


async def _hurt(link: Link, how: str, strength: float) -> None:
    match how:
        case "cut":
            link.cut()
        case "delay":
            link.delay_s = 0.05 + 0.5 * strength
            await asyncio.sleep(2.0 + 4.0 * strength)
        case "black-hole":
            link.black_hole = True
            await asyncio.sleep(0.5 + 4.0 * strength)
        case "mute":
            link.mute = True
            await asyncio.sleep(0.2 + 1.5 * strength)
