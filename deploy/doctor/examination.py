"""The whole examination: every part at the same time, none stops another."""

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp

from deploy.doctor import configuration, disks, gateway, mongodb_server, processes, redis_server, upstreams
from deploy.doctor.configuration import Configuration
from deploy.doctor.finding import Finding, warning
from shared.known_variables import own_variables


async def examine(
    environment: Mapping[str, str], *, url: str | None = None, targets: Sequence[str] = (), is_local: bool = False
) -> list[Finding]:
    """Errors first. `url`: in place of PARLEY_PUBLIC_URL. `targets`: private base URLs of further processes."""
    read, found = configuration.read(environment)
    if read is not None:
        given = set(own_variables(environment))
        found = await _examined(read, given, url, targets, is_local=is_local)
    return sorted(found, key=lambda finding: finding.severity)


async def _examined(
    read: Configuration, given: set[str], url: str | None, targets: Sequence[str], *, is_local: bool
) -> list[Finding]:
    """`given`: the variables that are set here. In a process's container those of the others may be missing."""
    history = read.history
    redis = dict.fromkeys((history.queue_redis_url, *history.stream_urls))
    private = list(dict.fromkeys((*history.history_urls, *targets)))
    token = history.internal_token.get_secret_value()
    async with aiohttp.ClientSession() as http:
        parts = await asyncio.gather(
            *(redis_server.examined(each) for each in redis),
            redis_server.queue_examined(history.queue_redis_url),
            _mongodb(read, given, is_local=is_local),
            processes.examined(http, private, history.history_tls),
            processes.token_examined(history.history_urls, token, history.history_tls),
            _upstreams(http, read, given),
            gateway.examined(http, (url or read.gateway.public_url).rstrip("/")),
        )
    folder = disks.folder_examined(read.worker.knowledge_dir)
    return [*configuration.judged(read), *folder, *(finding for part in parts for finding in part)]


async def _mongodb(read: Configuration, given: set[str], *, is_local: bool) -> list[Finding]:
    if not given & {"MONGODB_URI", "MONGODB_URI_FILE"}:
        return [_not_examined("mongodb_not_examined", "PARLEY_MONGODB_URI", "history")]
    settings = read.history
    return await asyncio.to_thread(
        mongodb_server.examined, settings.mongodb_uri, settings.mongodb_database, is_local=is_local
    )


async def _upstreams(http: aiohttp.ClientSession, read: Configuration, given: set[str]) -> list[Finding]:
    if not given & {"MODEL_BASE_URL", "UPSTREAMS"}:
        return [_not_examined("upstreams_not_examined", "PARLEY_MODEL_BASE_URL", "a worker")]
    return await upstreams.examined(http, read.worker.all_upstreams)


def _not_examined(code: str, name: str, place: str) -> Finding:
    message = "It is not set here, so what it names is not examined."
    return warning(code, name, message, f"Run the doctor with the variables of {place} too.")
