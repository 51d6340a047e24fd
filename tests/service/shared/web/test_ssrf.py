"""Server-side request forgery: no spelling of an internal address is ever connected to, whichever way it comes in.

The listener plays the internal service. What counts is not an error message but the number of connections that it
sees: 0.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.web.guard import is_public
from shared.web.guard_rules import AllowList, OutgoingPolicy
from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure

# Hosts as a URL may spell them. Some are refused as text, some by what they resolve to, some by the address they embed.
SPELLINGS = """
127.0.0.1 127.0.0.2 127.127.127.127 127.255.255.254 127.1 127.0.1 127.1. 127.0.0.1. 127.0.0.01 127.000.000.001
2130706433 2130706434 2130706433. 0x7f000001 0x7f000002 0X7F000001 0x7f.0.0.1 0x7F.0X0.0x0.0X1 0x7f.1 127.0x0.0.1
0177.0.0.1 0177.0.0.2 0177.1 017700000001 00000177.0.0.1 6425673729 0x17f000001 0.0.0.0 0 0x0 00 0.0
localhost LOCALHOST LocalHost localhost.
[::] [::1] [0:0:0:0:0:0:0:1] [::0001] [0000::1] [::ffff:127.0.0.1] [::ffff:127.0.0.2] [::ffff:7f00:1] [::FFFF:7F00:0001]
[0:0:0:0:0:ffff:7f00:1] [::127.0.0.1] [::7f00:1] [::ffff:0:127.0.0.1] [::ffff:0:7f00:1] [64:ff9b::127.0.0.1]
[64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:7f00:1::1] [2001:0:7f00:1::] [2001:0:808:808::80ff:fffe]
[2a00::5efe:127.0.0.1] [fe80::5efe:7f00:1] [fe80::1%25lo] [::1%25lo]
①②⑦.⓪.⓪.① １２７.０.０.１ 127。0。0。1 127．0．0．1 127｡0｡0｡1 ⓵⓶⓻.0.0.1
%31%32%37.0.0.1 127%2e0%2e0%2e1 127.0.0.1%00 127.0.0.1%20
user@127.0.0.1 public.example@127.0.0.1 public.example:80@127.0.0.1 127.0.0.1\\@public.example
127.0.0.1\\.public.example internal.example INTERNAL.example internal.example. six.example mapped.example any.example
both.example 127.0.0.1.nip.example
""".split()

NAMES = {
    "localhost": ["127.0.0.1"],
    "internal.example": ["127.0.0.1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "six.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "any.example": ["0.0.0.0"],
    "both.example": ["127.0.0.1", "::1", "127.0.0.2"],
}


class Names(AbstractResolver):
    """No look-up leaves this machine. `next_answers` are given to `rebind.example`, one after the other."""

    def __init__(self) -> None:
        self.next_answers: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        name = host.lower().rstrip(".")
        if name == "rebind.example":
            return [_result(host, self.next_answers.pop(0), port)]
        if name in NAMES:
            return [_result(host, address, port) for address in NAMES[name]]
        # As libc reads it: `0x7f000001` is an address here.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [_result(host, str(info[4][0]), port) for info in found]

    async def close(self) -> None:
        pass


def _result(name: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=name, host=address, port=port, family=family, proto=6, flags=0)


@dataclass
class Listener:
    """The internal service: every address of this machine, one port."""

    port: int = 0
    connections: int = 0
    servers: list[asyncio.Server] = field(default_factory=list)

    async def open(self) -> None:
        for host, family in (("0.0.0.0", socket.AF_INET), ("::1", socket.AF_INET6)):
            try:
                server = await asyncio.start_server(self._accept, host, self.port, family=family)
            except OSError:
                assert family == socket.AF_INET6, "there is no IPv4"
                continue
            self.servers.append(server)
            self.port = self.port or server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret"
        )
        await writer.drain()
        writer.close()

    async def close(self) -> None:
        for server in self.servers:
            server.close()
            await server.wait_closed()


@dataclass
class Site:
    """A public web site of the attacker, which redirects to whatever it likes."""

    port: int = 0
    location: str = ""
    status: int = 302
    requests: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(dict(request.headers))
        if not self.location:
            return web.Response(text="hello")
        return web.Response(status=self.status, headers={"Location": self.location})


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.open()
    yield listener
    await listener.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


def client_for(listener: Listener, names: Names, *allowed: str, is_allowed: Any = is_public) -> GuardedClient:
    policy = OutgoingPolicy(allow=AllowList.parse(allowed), ports=frozenset({80, listener.port}))
    return GuardedClient(policy, is_allowed=is_allowed, resolver=names)


async def refusal(client: GuardedClient, url: str, **given: Any) -> str:
    with pytest.raises(OutgoingFailure) as caught:
        await client.fetch(Outgoing(method="GET", url=url, **given), limit=1000)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_there_are_enough_spellings() -> None:
    assert len(set(SPELLINGS)) >= 60


async def test_without_the_guard_the_listener_would_be_reached(listener: Listener) -> None:
    """What the other tests prevent. Else they might count the connections of a listener that nothing can reach."""
    async with client_for(listener, Names(), is_allowed=lambda _: True) as client:
        for host in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "internal.example", "both.example", "①②⑦.⓪.⓪.①"):
            answer = await client.fetch(Outgoing(method="GET", url=f"http://{host}:{listener.port}/"), limit=1000)
            assert answer.text == "secret"
    assert listener.connections == 6


async def test_no_spelling_reaches_an_internal_address_directly(listener: Listener) -> None:
    async with client_for(listener, Names()) as client:
        for host in SPELLINGS:
            await refusal(client, f"http://{host}:{listener.port}/")
    assert listener.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_spelling_reaches_an_internal_address_by_redirect(listener: Listener, site: Site, status: int) -> None:
    site.status = status
    async with client_for(listener, Names(), f"127.0.0.2:{site.port}") as client:
        for host in SPELLINGS:
            site.location = f"http://{host}:{listener.port}/"
            await refusal(client, f"http://127.0.0.2:{site.port}/")
    assert len(site.requests) == len(SPELLINGS)
    assert listener.connections == 0


async def test_no_spelling_reaches_an_internal_address_by_rebinding(listener: Listener, site: Site) -> None:
    """The name is public when it is looked at first, and internal from then on."""
    names = Names()
    public = client_for(listener, names, is_allowed=lambda address: address == "127.0.0.2" or is_public(address))
    answers = [host.strip("[]") for host in SPELLINGS if host != "127.0.0.2"]
    async with public as client:
        for answer in answers:
            names.next_answers = ["127.0.0.2", answer]
            url = f"http://rebind.example:{listener.port}/"
            # The listener listens on 127.0.0.2 too: the first connection is the one that is allowed.
            first = await client.fetch(Outgoing(method="GET", url=url), limit=1000)
            assert first.text == "secret"
            await refusal(client, url)
            assert names.next_answers == [], "the name was looked up for each connection"
    assert listener.connections == len(answers)


async def test_an_answer_of_several_addresses_is_judged_one_by_one(listener: Listener) -> None:
    names = Names()
    seen = list[str]()

    def is_allowed(address: str) -> bool:
        seen.append(address)
        return False

    async with client_for(listener, names, is_allowed=is_allowed) as client:
        await refusal(client, f"http://both.example:{listener.port}/")
    assert set(seen) == {"127.0.0.1", "::1", "127.0.0.2"}
    assert listener.connections == 0


async def test_the_operators_list_lets_hosts_and_networks_through(listener: Listener) -> None:
    for allowed in (f"127.0.0.1:{listener.port}", "127.0.0.1", "127.0.0.0/30"):
        async with client_for(listener, Names(), allowed) as client:
            answer = await client.fetch(Outgoing(method="GET", url=f"http://127.0.0.1:{listener.port}/"), limit=1000)
            assert answer.text == "secret"
            await refusal(client, f"http://127.255.255.254:{listener.port}/")
    assert listener.connections == 3


async def test_a_listed_host_is_not_a_bridge_to_another(listener: Listener, site: Site) -> None:
    site.location = f"http://127.0.0.1:{listener.port}/"
    async with client_for(listener, Names(), f"127.0.0.2:{site.port}") as client:
        await refusal(client, f"http://127.0.0.2:{site.port}/")
    assert listener.connections == 0
