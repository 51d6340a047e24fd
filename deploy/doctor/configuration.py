"""The environment, as each of the three services would read it at its start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from deploy.cli.exits import CliError, Exit
from deploy.doctor.addresses import crosses_the_internet, is_loopback, shown
from deploy.doctor.finding import Finding, error, warning
from services.agent_worker.settings import WorkerSettings
from services.gateway.settings import GatewaySettings
from services.history.settings import HistorySettings
from shared.settings import Settings, SettingsError


@dataclass(frozen=True, kw_only=True)
class Configuration:
    gateway: GatewaySettings
    worker: WorkerSettings
    history: HistorySettings


def read(environment: Mapping[str, str]) -> tuple[Configuration | None, list[Finding]]:
    """None: some service would not start with these variables. The findings name them."""
    faults: dict[str, None] = {}
    found: dict[str, Any] = {}
    kinds: dict[str, type[Settings]] = {
        "gateway": GatewaySettings,
        "worker": WorkerSettings,
        "history": HistorySettings,
    }
    for name, kind in kinds.items():
        try:
            found[name] = kind.load(environment)
        except SettingsError as refused:
            faults |= dict.fromkeys(str(refused).splitlines())
    if faults:
        return None, [_fault(line) for line in faults]
    return Configuration(**found), []


def _fault(line: str) -> Finding:
    if "INTERNAL_TOKEN" in line:
        mend = "Set PARLEY_INTERNAL_TOKEN to the output of `openssl rand -hex 32`, the same for every process. "
        mend += "For the stack that `make up` runs: parley doctor --local .parley"
    else:
        mend = "Correct the variable; deploy/reference/settings.md says what each accepts."
    return error("configuration", "environment", f"No process starts with this: {line}", mend)


def judged(configuration: Configuration) -> list[Finding]:
    """What the services accept and an operator may regret."""
    return [*_secrets(configuration), *_plain_text(configuration)]


def _secrets(configuration: Configuration) -> list[Finding]:
    if configuration.history.secret_keys:
        return []
    return [
        warning(
            "secrets_keys_missing",
            "PARLEY_SECRETS_KEYS",
            "There is no key for stored secrets: tools with secrets, webhooks and widgets with identities are refused.",
            "Set PARLEY_SECRETS_KEYS to the output of `openssl rand -base64 32`, the same for every process.",
        )
    ]


def _plain_text(configuration: Configuration) -> list[Finding]:
    """Addresses by which keys, tokens or texts would cross the internet unencrypted."""
    history, gateway = configuration.history, configuration.gateway
    redis = [
        url
        for url in dict.fromkeys((history.queue_redis_url, *history.stream_urls))
        if url.startswith(("redis://", "redis+sentinel://"))
    ]
    mongodb = [] if _wants_tls(history.mongodb_uri) else [history.mongodb_uri]
    internal = [url for url in history.history_urls if url.startswith("http://")]
    rows = [
        (
            "PARLEY_QUEUE_REDIS_URL",
            redis,
            "Use rediss:// (deploy/redis/README.md), or an address of a private network.",
        ),
        ("PARLEY_MONGODB_URI", mongodb, "Add tls=true to the URI, or use an address of a private network."),
        ("PARLEY_HISTORY_URL", internal, "Set PARLEY_INTERNAL_TLS_CA, _CERT and _KEY and use https://."),
    ]
    found = [
        warning("no_tls", name, f"{shown(url)} is a public address and is spoken to without TLS.", mend)
        for name, urls, mend in rows
        for url in urls
        if crosses_the_internet(url)
    ]
    if gateway.public_url.startswith("http://") and not is_loopback(gateway.public_url):
        message = f"Clients send their keys to {gateway.public_url} without TLS."
        mend = "Let the proxy before the gateways speak HTTPS and write its https:// address into PARLEY_PUBLIC_URL."
        found.append(warning("no_tls", "PARLEY_PUBLIC_URL", message, mend))
    return found


def _wants_tls(uri: str) -> bool:
    return uri.startswith("mongodb+srv://") or "tls=true" in uri or "ssl=true" in uri


def local_environment(directory: Path) -> dict[str, str]:
    """The variables of the stack that `make up` runs on this data directory. Raises CliError.

    PARLEY_MONGODB_DATABASE names another database of its MongoDB, such as one that a backup is restored into.
    """
    try:
        state = orjson.loads((directory / "state.json").read_bytes())
        ports = state["ports"]
        host = "127.0.0.1"
        return {
            "PARLEY_INTERNAL_TOKEN": state["internalToken"],
            "PARLEY_SECRETS_KEYS": state["toolSecretsKey"],
            "PARLEY_QUEUE_REDIS_URL": f"redis://{host}:{ports['redis']}/0",
            "PARLEY_MONGODB_URI": f"mongodb://{host}:{ports['mongodb']}/?retryWrites=false",
            "PARLEY_HISTORY_URL": ",".join(f"http://{host}:{ports[name]}" for name in _of_kind(ports, "history")),
            "PARLEY_MONGODB_DATABASE": os.environ.get("PARLEY_MONGODB_DATABASE") or state.get("database", "parley"),
            "PARLEY_PUBLIC_URL": state["publicUrl"],
            "PARLEY_MODEL_BASE_URL": f"http://{host}:{ports['model']}/v1",
        }
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise CliError(f"{directory} is not the data directory of a running `make up`", Exit.BAD_FILE) from None


def local_targets(directory: Path) -> list[str]:
    """The private base URLs of the processes of that stack. Raises CliError."""
    try:
        ports = orjson.loads((directory / "state.json").read_bytes())["ports"]
        names = [name for kind in ("gateway", "worker", "ingest", "history") for name in _of_kind(ports, kind)]
        return [f"http://127.0.0.1:{ports[name]}" for name in names]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise CliError(f"{directory} is not the data directory of a running `make up`", Exit.BAD_FILE) from None


def _of_kind(ports: Mapping[str, int], kind: str) -> list[str]:
    return [name for name in ports if name.partition("-")[0] == kind]
