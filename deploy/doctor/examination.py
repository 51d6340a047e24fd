"""The whole examination: every part at the same time, none stops another."""

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp

from deploy.doctor import configuration, disks, gateway, mongodb_server, processes, redis_server, upstreams
from deploy.doctor.configuration import Configuration
from deploy.doctor.finding import Finding


async def examine(
    environment: Mapping[str, str], *, url: str | None = None, targets: Sequence[str] = (), is_local: bool = False
) -> list[Finding]:
    """Errors first. `url`: in place of PARLEY_PUBLIC_URL. `targets`: private base URLs of further processes."""
    read, found = configuration.read(environment)
    if read is not None:
        found = await _examined(read, url, targets, is_local=is_local)
    return sorted(found, key=lambda finding: finding.severity)


async def _examined(read: Configuration, url: str | None, targets: Sequence[str], *, is_local: bool) -> list[Finding]:
    history = read.history
    redis = dict.fromkeys((history.queue_redis_url, *history.stream_urls))
    private = list(dict.fromkeys((*history.history_urls, *targets)))
    token = history.internal_token.get_secret_value()
    async with aiohttp.ClientSession() as http:
        parts = await asyncio.gather(
            *(redis_server.examined(each) for each in redis),
            redis_server.queue_examined(history.queue_redis_url),
            asyncio.to_thread(
                mongodb_server.examined, history.mongodb_uri, history.mongodb_database, is_local=is_local
            ),
            processes.examined(http, private, history.history_tls),
            processes.token_examined(history.history_urls, token, history.history_tls),
            upstreams.examined(http, read.worker.all_upstreams),
            gateway.examined(http, (url or read.gateway.public_url).rstrip("/")),
        )
    folder = disks.folder_examined(read.worker.knowledge_dir)
    return [*configuration.judged(read), *folder, *(finding for part in parts for finding in part)]
