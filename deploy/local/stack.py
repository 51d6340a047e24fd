"""Which processes the local stack consists of: their commands, ports and environments. Starts nothing."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from deploy.local.state import LocalState
from deploy.local.stores import Store, mongodb_store, redis_store
from deploy.local.supervisor import Command
from shared.known_variables import FILE, PREFIX, SECRETS, own_variables
from shared.settings import SettingsError, take_from_files

ROOT: Final = Path(__file__).resolve().parents[2]
DATABASE: Final = "parley"
# All compete for one machine's cores. A token that comes late is seen, a turn that is stored some milliseconds later
# is not.
BEHIND: Final = ("nice", "-n", "3")
YIELDING: Final = frozenset({"history", "mongodb", "ingest"})
# Pages for people, which are off by default elsewhere.
PAGES: Final = ("PARLEY_PLAYGROUND", "PARLEY_CONSOLE")
MODULES: Final = {
    "gateway": "services.gateway",
    "worker": "services.agent_worker",
    "ingest": "services.agent_worker",
    "history": "services.history",
    "model": "deploy.demo.model",
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many of each, and the public port."""

    gateways: int
    workers: int
    histories: int
    port: int


class Stack:
    """The plan of one run. Where the user's environment names a server, that one is used and none is planned."""

    def __init__(
        self, state: LocalState, size: Size, environment: Mapping[str, str], http: aiohttp.ClientSession
    ) -> None:
        self.state = state
        self.size = size
        self._environment = environment
        self._http = http
        self.port = size.port or state.port("public")
        self.model_url = f"http://127.0.0.1:{state.port('model')}"
        self.history_urls = [f"http://127.0.0.1:{state.port(name)}" for name in _names("history", size.histories)]
        self.gateway_urls = [f"http://127.0.0.1:{state.port(name)}" for name in _names("gateway", size.gateways)]
        self.worker_urls = [f"http://127.0.0.1:{state.port(name)}" for name in _names("worker", size.workers)]
        self.ingest_url = f"http://127.0.0.1:{state.port('ingest')}"
        self._redis = None if environment.get("PARLEY_QUEUE_REDIS_URL") else self._store(redis_store, "redis")
        self._mongodb = None if environment.get("PARLEY_MONGODB_URI") else self._store(mongodb_store, "mongodb")
        self.redis_url = self._redis.url if self._redis else environment["PARLEY_QUEUE_REDIS_URL"]
        self.mongodb_uri = self._mongodb.url if self._mongodb else environment["PARLEY_MONGODB_URI"]
        self.internal_token = environment.get("PARLEY_INTERNAL_TOKEN") or state.internal_token

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        return self._environment.get("PARLEY_MONGODB_DATABASE") or DATABASE

    @property
    def demo_model(self) -> str | None:
        """The real model behind the demo agent, if the user named one."""
        return self._environment.get("PARLEY_MODEL") if self._environment.get("PARLEY_MODEL_BASE_URL") else None

    @property
    def demo_page(self) -> Path:
        """The page that embeds the widget. The demo process serves it, so it has another origin than the gateway."""
        return self.state.data_dir / "shop.html"

    @property
    def logs(self) -> Path:
        return self.state.data_dir / "logs"

    def first_commands(self) -> list[tuple[str, Command]]:
        """(group, command) of what the services lean on."""
        stores = [store for store in (self._redis, self._mongodb) if store is not None]
        return [(store.name, self._store_command(store)) for store in stores] + [("model", self._model_command())]

    def service_commands(self) -> list[tuple[str, Command]]:
        return [*self.history_commands(), *self.worker_commands(), *self.ingest_commands(), *self.gateway_commands()]

    # --- stores

    def _store(self, make: Callable[..., Store], name: str) -> Store:
        return make(self.state.data_dir / name, self.state.port(name))

    def _store_command(self, store: Store) -> Command:
        store.data_dir.mkdir(parents=True, exist_ok=True)
        return Command(
            name=store.name,
            arguments=_in_its_place(store.name, store.command),
            log=self._log(store.name),
            pid_file=self._pid_file(store.name),
            probe=lambda: asyncio.to_thread(store.probe),
            cwd=store.data_dir,
            hint=f"If another release wrote {store.data_dir}: it is disposable, remove it and start again.",
        )

    # --- services

    def history_commands(self) -> list[tuple[str, Command]]:
        own = {"PARLEY_MONGODB_URI": self.mongodb_uri, "PARLEY_MONGODB_DATABASE": self.database}
        names = _names("history", self.size.histories)
        return [
            ("history", self._service("history", name, url, own))
            for name, url in zip(names, self.history_urls, strict=True)
        ]

    def worker_commands(self) -> list[tuple[str, Command]]:
        given = self._environment
        allowed = [given.get("PARLEY_TOOL_ALLOW", ""), self.model_url.removeprefix("http://")]
        own = {
            "PARLEY_MODEL_BASE_URL": given.get("PARLEY_MODEL_BASE_URL") or f"{self.model_url}/v1",
            "PARLEY_TOOL_ALLOW": ",".join(filter(None, allowed)),
            "PARLEY_KNOWLEDGE_DIR": given.get("PARLEY_KNOWLEDGE_DIR") or str(self.state.data_dir / "knowledge"),
        }
        grace_s = float(given.get("PARLEY_DRAIN_S") or 30.0) + 5.0
        names = _names("worker", self.size.workers)
        return [
            ("worker", self._service("worker", name, url, own, grace_s))
            for name, url in zip(names, self.worker_urls, strict=True)
        ]

    def ingest_commands(self) -> list[tuple[str, Command]]:
        """One worker that reads knowledge sources."""
        return [("ingest", self._service("ingest", "ingest", self.ingest_url, {}, options=("--queue", "ingest")))]

    def gateway_commands(self) -> list[tuple[str, Command]]:
        commands = []
        for name, url in zip(_names("gateway", self.size.gateways), self.gateway_urls, strict=True):
            own = {"PARLEY_PORT": str(self.port), "PARLEY_PRIVATE_PORT": _port_of(url), "PARLEY_REUSE_PORT": "1"}
            own |= {name: self._environment.get(name, "1") for name in PAGES}
            processes = (*self.gateway_urls, *self.worker_urls, self.ingest_url, *self.history_urls)
            own["PARLEY_OVERVIEW_URLS"] = self._environment.get("PARLEY_OVERVIEW_URLS") or ",".join(processes)
            if self._environment.get("PARLEY_HOST"):
                # Who sets it wants the public API reachable; everything internal stays on loopback.
                own["PARLEY_HOST"] = self._environment["PARLEY_HOST"]
            commands.append(("gateway", self._service("gateway", name, url, own)))
        return commands

    def _model_command(self) -> Command:
        own = {"PARLEY_DEMO_PAGE": str(self.demo_page)}
        return self._service("model", "model", self.model_url, own, grace_s=2.0)

    def _service(
        self,
        kind: str,
        name: str,
        url: str,
        own: Mapping[str, str],
        grace_s: float = 10.0,
        options: tuple[str, ...] = (),
    ) -> Command:
        env = {
            **self._environment,
            "PARLEY_HOST": "127.0.0.1",
            "PARLEY_PORT": _port_of(url),
            **self._shared_environment(),
            **own,
        }
        return Command(
            name=name,
            arguments=_in_its_place(kind, (sys.executable, "-m", MODULES[kind], *options)),
            log=self._log(name),
            pid_file=self._pid_file(name),
            probe=self._answers(f"{url}/readyz"),
            env=env,
            cwd=ROOT,
            grace_s=grace_s,
        )

    def _shared_environment(self) -> dict[str, str]:
        given = self._environment
        return {
            "PARLEY_INTERNAL_TOKEN": self.internal_token,
            "PARLEY_SECRETS_KEYS": self._environment.get("PARLEY_SECRETS_KEYS") or self.state.tool_secrets_key,
            "PARLEY_QUEUE_REDIS_URL": self.redis_url,
            "PARLEY_STREAM_REDIS_URLS": given.get("PARLEY_STREAM_REDIS_URLS") or self.redis_url,
            "PARLEY_HISTORY_URL": ",".join(self.history_urls),
        }

    def _answers(self, url: str) -> Callable[[], Awaitable[bool]]:
        async def probe() -> bool:
            try:
                async with self._http.get(url, timeout=aiohttp.ClientTimeout(total=3.0)) as response:
                    return response.status == 200
            except (aiohttp.ClientError, TimeoutError, OSError):
                return False

        return probe

    def _log(self, name: str) -> Path:
        """The last run's log stays beside this one's as `.log.1`."""
        log = self.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        return log

    def _pid_file(self, name: str) -> Path:
        directory = self.state.data_dir / "run"
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f"{name}.pid"


def user_environment() -> dict[str, str]:
    """Ours, as far as children may see it: what is set but empty counts as not set.

    Raises SettingsError for a file of a secret that cannot be read.
    """
    given = {name: value for name, value in os.environ.items() if value or not name.startswith(PREFIX)}
    own = own_variables(given)
    # Children get the values: the stack itself sets some of them.
    if faults := list(take_from_files(own)):
        raise SettingsError(faults)
    files = {PREFIX + name + FILE for name in SECRETS}
    return {name: value for name, value in given.items() if name not in files} | {
        PREFIX + name: own[name] for name in SECRETS if own.get(name)
    }


def _names(kind: str, number: int) -> list[str]:
    return [f"{kind}-{index + 1}" for index in range(number)]


def _in_its_place(kind: str, command: tuple[str, ...]) -> tuple[str, ...]:
    return (*BEHIND, *command) if kind in YIELDING else command


def _port_of(url: str) -> str:
    return url.rpartition(":")[2]
