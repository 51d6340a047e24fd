"""The links of the chaos suite do what they say and nothing else: one that swaps bytes would accuse the product."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from deploy.local.processes import free_port
from tests.conftest import eventually
from tests.system.chaos.link import Link


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """In front of a server that sends everything back."""

    open_connections: set[asyncio.StreamWriter] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except ConnectionError:
            pass
        await _close(writer)
        open_connections.discard(writer)

    port = free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", port)
    async with server:
        async with Link(port) as link:
            yield link
        await eventually(lambda: not open_connections)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_bytes_arrive_in_order_while_the_delay_changes(link: Link) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    sent = b""
    for number in range(300):
        link.delay_s = (number % 7) * 0.004
        data = b"%d," % number
        writer.write(data)
        sent += data
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await reader.readexactly(len(sent)) == sent
    await _close(writer)


async def test_a_mute_link_delivers_what_is_asked_and_breaks_when_it_heals(link: Link) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    link.mute = True
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    link.heal()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await _close(writer)


async def test_a_cut_breaks_every_connection_and_lets_new_ones_in(link: Link) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    await eventually(lambda: link.connections == 1)
    assert link.cut() == 1
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await _close(writer)
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"again")
    assert await reader.readexactly(5) == b"again"
    await _close(writer)
