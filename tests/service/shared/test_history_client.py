"""The client of history: which history it asks, and when it asks another."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp import web

from deploy.local.processes import free_port
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import NewSource, StoredContent
from shared.history_client import HistoryClient
from shared.ids import new_id
from shared.web.bodies import json_response
from shared.web.process import app_runner, listening

TOKEN = "internal-token-of-the-tests"


@pytest.fixture
async def living() -> AsyncIterator[str]:
    """A history that answers every key with the same workspace."""

    async def resolve(_: web.Request) -> web.Response:
        return json_response({"keyId": "key_1", "workspace": "acme", "scopes": []})

    async def ready(_: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    app, port = web.Application(), free_port()
    app.add_routes([web.post("/keys/resolve", resolve), web.get("/readyz", ready)])
    async with listening(app_runner(app), "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


def dead() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("count", [1, 2, 7, 8])
async def test_calls_that_fail_together_all_find_the_living_history(living: str, count: int) -> None:
    async with HistoryClient([dead(), living], TOKEN) as client:
        for _ in range(2):
            principals = await asyncio.gather(*(client.resolve_key("digest") for _ in range(count)))
            assert {principal.workspace for principal in principals} == {"acme"}


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """A host that takes connections and answers nothing, as behind a broken network."""
    connections: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in connections:
            writer.close()


async def test_a_process_is_ready_when_the_history_that_it_asks_first_is_silent_and_another_is_not(
    silent: str, living: str
) -> None:
    async with HistoryClient([silent, living], TOKEN) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.ready()
        async with asyncio.timeout(10):
            await client.ready()


async def test_no_history_at_all_is_told_as_unavailable() -> None:
    async with HistoryClient([dead(), dead()], TOKEN) as client:
        with pytest.raises(ApiError) as refusal:
            await client.resolve_key("digest")
        assert refusal.value.code is Code.DEPENDENCY_UNAVAILABLE


@pytest.fixture
async def breaking() -> AsyncIterator[tuple[str, list[NewSource]]]:
    """A history that takes orders of sources and breaks each connection before it answers."""
    orders: list[NewSource] = []

    async def take(request: web.Request) -> web.Response:
        orders.append(NewSource.model_validate(orjson.loads(await request.read())))
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    app, port = web.Application(), free_port()
    app.add_routes([web.post("/workspaces/acme/drafts/agt_1/sources", take)])
    async with listening(app_runner(app), "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}", orders


async def test_a_text_is_sent_again_as_another_source_and_a_file_as_the_same(
    breaking: tuple[str, list[NewSource]],
) -> None:
    """The first try may still upload the text, and a file has been uploaded under the source's id."""
    url, orders = breaking
    text = NewSource(id=new_id("src"), kind="text", content="The garden opens at nine.")
    stored = StoredContent(size=1, digest="0" * 64)
    file = NewSource(id=new_id("src"), kind="file", file_name="notes.md", stored=stored)
    async with HistoryClient([url], TOKEN) as client:
        for order in (text, file):
            with pytest.raises(ApiError):
                await client.create_source("acme", "agt_1", order)
    first, again, *files = orders
    assert (first.id, again.content) == (text.id, text.content)
    assert again.id != text.id
    assert [order.id for order in files] == [file.id] * 2
