"""`python -m tests.bench.proxies`: what the proxies of deploy/proxies add to a stream, beside the same stream directly.

The upstream writes deltas in a gateway's shape at an even pace. Rounds alternate between the routes, so that all of
them meet the same moments of the host. Times are of one client, over TLS behind the proxies and without it directly.
"""

import argparse
import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import httpx
from aiohttp import web

from services.gateway.streaming.sse_response import HEADERS
from tests.bench.load import quantile
from tests.system.proxies.running import Proxy
from tests.system.proxies.upstream import delta, ready

DELTAS: Final = 50
PACE_S: Final = 0.02
STARTS_WITHIN_S: Final = 30.0
PROXIES: Final = ("nginx", "nginx_gzip_buffering", "caddy", "haproxy")


@dataclass
class Route:
    """A way to the upstream, and what its rounds measured, in seconds."""

    name: str
    http: httpx.AsyncClient
    firsts: list[float] = field(default_factory=list)
    middles: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)

    async def round(self) -> None:
        began, times, text = perf_counter(), list[float](), b""
        async with self.http.stream("POST", "/stream") as answer:
            async for piece in answer.aiter_bytes():
                text += piece
                times += [perf_counter()] * (text.count(b"\n\n") - len(times))
        assert text == b"".join(delta(number) for number in range(DELTAS)), f"{self.name} changed the stream"
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self.firsts.append(times[0] - began)
        self.middles.append(quantile(gaps, 0.5))
        self.tails.append(quantile(gaps, 0.95))

    def row(self, direct: "Route") -> str:
        cells = [
            f"{1000 * median(own):.1f} ({1000 * median(a - b for a, b in zip(own, base, strict=True)):+.1f})"
            for own, base in (
                (self.firsts, direct.firsts),
                (self.middles, direct.middles),
                (self.tails, direct.tails),
            )
        ]
        return f"| {self.name} | {' | '.join(cells)} |"


async def paced(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers=HEADERS)
    await answer.prepare(request)
    for number in range(DELTAS):
        await answer.write(delta(number))
        await asyncio.sleep(PACE_S)
    return answer


@asynccontextmanager
async def upstreams() -> AsyncIterator[list[str]]:
    app = web.Application()
    app.add_routes([web.get("/readyz", ready), web.post("/stream", paced)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    for _ in range(2):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield [f"http://127.0.0.1:{address[1]}" for address in runner.addresses]
    finally:
        await runner.cleanup()


async def answering(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(STARTS_WITHIN_S):
        while True:
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def measure(rounds: int) -> None:
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(upstreams())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        routes = [Route("direct", await stack.enter_async_context(httpx.AsyncClient(base_url=urls[0])))]
        for name in PROXIES:
            (directory / name).mkdir()
            proxy = Proxy(name, directory / name, urls)
            stack.callback(proxy.stop)
            context = ssl.create_default_context(cafile=str(proxy.authority))
            for version in (1, 2):
                http = httpx.AsyncClient(base_url=proxy.url, http1=version == 1, http2=version == 2, verify=context)
                route = Route(f"{name}, HTTP/{version}", await stack.enter_async_context(http))
                await answering(route.http)
                routes.append(route)
        for _ in range(rounds):
            for route in routes:
                await route.round()
    print(f"Milliseconds, medians of {rounds} rounds of {DELTAS} deltas, one each {1000 * PACE_S:.0f} ms;")
    print("in brackets the median of the differences to the direct stream of the same round.\n")
    print("| | first delta | gap, median | gap, p95 |\n| --- | --- | --- | --- |")
    for route in routes:
        print(route.row(routes[0]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proxies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
