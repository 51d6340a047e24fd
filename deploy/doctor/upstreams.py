"""The model servers: whether they answer, and whether they take the key."""

import asyncio

import aiohttp

from deploy.doctor.addresses import shown
from deploy.doctor.finding import Finding, error
from services.agent_worker.settings import Upstream

TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=5)


async def examined(http: aiohttp.ClientSession, upstreams: dict[str, Upstream]) -> list[Finding]:
    if not upstreams:
        message = "No model server is configured, so every turn fails."
        mend = "Set PARLEY_MODEL_BASE_URL (up to and including /v1) and PARLEY_MODEL_API_KEY, or PARLEY_UPSTREAMS."
        return [error("no_upstream", "models", message, mend)]
    found = await asyncio.gather(*(_examined(http, name, each) for name, each in upstreams.items()))
    return [finding for of in found for finding in of]


async def _examined(http: aiohttp.ClientSession, name: str, upstream: Upstream) -> list[Finding]:
    """Asks for the list of models, which costs nothing. A server without one is not at fault."""
    subject, url = f"upstream {name}", upstream.url
    key = upstream.api_key.get_secret_value()
    headers = {"Authorization": f"Bearer {key}", "api-key": key, "x-api-key": key} if key else {}
    try:
        async with http.get(f"{url.rstrip('/')}/models", headers=headers, timeout=TIMEOUT) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as fault:
        message = f"{shown(url)} does not answer ({type(fault).__name__}), so turns of its agents fail."
        mend = "Check the address, the name service, a proxy between and the firewall from the workers' machine."
        return [error("upstream_unreachable", subject, message, mend)]
    if status in (401, 403):
        message = f"{shown(url)} refuses the key (HTTP {status})."
        return [
            error(
                "upstream_key", subject, message, "Put a valid key into PARLEY_MODEL_API_KEY or the upstream's apiKey."
            )
        ]
    if status >= 500:
        message = f"{shown(url)} answers HTTP {status}."
        return [error("upstream_failing", subject, message, "Look at the model server's own log.")]
    return []
