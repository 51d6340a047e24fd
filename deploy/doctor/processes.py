"""History and the other processes by their private ports: ready, of one release, on time, and with the same token."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from deploy.doctor import clocks
from deploy.doctor.finding import Finding, error
from shared.contracts.errors import ApiError, Code
from shared.history_client import HistoryClient

TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=2)


async def examined(http: aiohttp.ClientSession, urls: Sequence[str], tls: ssl.SSLContext | None) -> list[Finding]:
    """Each process's `/readyz`."""
    found = await asyncio.gather(*(_examined(http, url, tls) for url in urls))
    return [finding for of in found for finding in of]


async def _examined(http: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | None) -> list[Finding]:
    context: Any = tls if tls is not None and url.startswith("https:") else True
    try:
        async with http.get(f"{url}/readyz", timeout=TIMEOUT, ssl=context) as response:
            date, body = response.headers.get("Date"), await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
        message = f"It does not answer ({type(fault).__name__})."
        mend = "Start the process, or correct the address; its first log lines say why it ended."
        return [error("process_unreachable", url, message, mend)]
    found = [] if date is None else clocks.judged(url, parsedate_to_datetime(date).timestamp() + 0.5 - time.time())
    failing = body.get("failing") if isinstance(body, dict) else None
    if failing:
        message = f"It is not ready: {', '.join(map(str, failing))}."
        found.append(
            error("process_not_ready", url, message, "Mend the stores that are named here, then look at its log.")
        )
    return found


async def token_examined(urls: Sequence[str], token: str, tls: ssl.SSLContext | None) -> list[Finding]:
    """Whether history takes our internal token."""
    try:
        async with HistoryClient(urls, token, tls=tls) as history:
            await history.workspaces({"limit": "1"})
    except ApiError as refused:
        if refused.code in (Code.DEPENDENCY_UNAVAILABLE, Code.OVERLOADED):
            return []  # `examined` has told it.
        message = f"History refuses this PARLEY_INTERNAL_TOKEN ({refused.code})."
        mend = "Give every process the same PARLEY_INTERNAL_TOKEN and restart those that had another."
        return [error("internal_token", "PARLEY_INTERNAL_TOKEN", message, mend)]
    return []
