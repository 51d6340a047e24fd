"""The public address: whether it answers, its version and certificate, and whether a proxy holds deltas back."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import aiohttp

from deploy.cli.config import API
from deploy.doctor.finding import Finding, error, warning
from shared.version import VERSION

TIMEOUT: Final = aiohttp.ClientTimeout(total=20, sock_connect=5)
# A stream whose events arrive in less than half of the time in which they were sent was held back somewhere.
LEAST_SPREAD: Final = 0.5
CERTIFICATE_DAYS: Final = 14
MEND_BUFFERING: Final = (
    "Turn response buffering off in the proxy (nginx: proxy_buffering off; and gzip off for text/event-stream), "
    "as deploy/OPERATING.md shows."
)


class Tick(NamedTuple):
    """When an event of the check was sent and when it arrived, seconds on each side's own clock."""

    sent_s: float
    arrived_s: float


async def examined(http: aiohttp.ClientSession, url: str) -> list[Finding]:
    """`url`: the base URL that clients use, without /api/v1."""
    if not url:
        message = "PARLEY_PUBLIC_URL is empty, so the way that clients take is not examined."
        mend = "Set PARLEY_PUBLIC_URL to the address of the proxy before the gateways, or give --url."
        return [warning("public_url_missing", "PARLEY_PUBLIC_URL", message, mend)]
    try:
        found = await _version(http, url)
        return found + await _stream(http, url)
    except aiohttp.ClientConnectorCertificateError as fault:
        message = f"Its certificate is not valid here: {fault.certificate_error}."
        return [error("certificate_invalid", url, message, "Renew the certificate, or install its whole chain.")]
    except (aiohttp.ClientError, TimeoutError, OSError) as fault:
        message = f"It does not answer ({type(fault).__name__}), so no client can reach Parley."
        mend = "Check that a gateway runs, the proxy's upstream address, the name service and the firewall."
        return [error("gateway_unreachable", url, message, mend)]


async def _version(http: aiohttp.ClientSession, url: str) -> list[Finding]:
    async with http.get(f"{url}{API}/openapi.json", timeout=TIMEOUT) as response:
        found = certificate_judged(url, _certificate(response), datetime.now(UTC))
        if response.status != 200:
            message = f"{API}/openapi.json answers HTTP {response.status}: this is no gateway of Parley, or none is up."
            return [*found, error("gateway_unreachable", url, message, "Check where the proxy sends /api/v1/.")]
        theirs = (await response.json(content_type=None))["info"]["version"]
    if theirs != VERSION:
        message = f"The gateway is version {theirs}, this is {VERSION}."
        found.append(
            warning("version", url, message, "Use the doctor of the release that runs, or finish the upgrade.")
        )
    return found


def _certificate(response: aiohttp.ClientResponse) -> dict[str, Any] | None:
    transport = response.connection.transport if response.connection else None
    found: dict[str, Any] | None = transport.get_extra_info("peercert") if transport else None
    return found


def certificate_judged(url: str, certificate: dict[str, Any] | None, now: datetime) -> list[Finding]:
    if not certificate or "notAfter" not in certificate:
        return []
    until = datetime.strptime(certificate["notAfter"], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
    days = (until - now).total_seconds() / 86400
    if days >= CERTIFICATE_DAYS:
        return []
    message = f"Its certificate expires in {days:.0f} days."
    return [warning("certificate_expires", url, message, "Renew it, and check why the renewal did not run by itself.")]


async def _stream(http: aiohttp.ClientSession, url: str) -> list[Finding]:
    async with http.get(f"{url}{API}/stream-check", timeout=TIMEOUT) as response:
        if response.status != 200:
            message = f"The stream check answers HTTP {response.status}, so buffering is not examined."
            mend = "Run it again; if it stays, let the proxy pass GET /api/v1/stream-check on."
            return [warning("stream_not_examined", url, message, mend)]
        coding = response.headers.get("Content-Encoding", "")
        ticks = [
            Tick(int(line[6:]) / 1000, time.monotonic())
            async for line in response.content
            if line.startswith(b"data: ")
        ]
    return stream_judged(url, ticks, coding)


def stream_judged(url: str, ticks: Sequence[Tick], coding: str = "") -> list[Finding]:
    """Compares in how much time the events were sent and arrived. The network's own delay does not count."""
    if len(ticks) < 2:
        message = "The stream broke off, so clients lose their streams too."
        return [error("stream_broken", url, message, "Look at the proxy's error log and its time-outs.")]
    sent_s = ticks[-1].sent_s - ticks[0].sent_s
    arrived_s = ticks[-1].arrived_s - ticks[0].arrived_s
    if arrived_s < LEAST_SPREAD * sent_s:
        message = f"A proxy holds streams back: events sent over {sent_s:.1f} s arrived within {arrived_s:.1f} s."
        return [error("proxy_buffers", url, message, MEND_BUFFERING)]
    if coding:
        message = f"A proxy compresses event streams ({coding}), which costs CPU and can hold deltas back."
        return [warning("proxy_compresses", url, message, MEND_BUFFERING)]
    return []
