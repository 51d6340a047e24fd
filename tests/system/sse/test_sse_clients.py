"""Whatever byte a connection is cut at, each SSE client ends with the stored text."""

import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.service.gateway.fakes import Stage, stage
from tests.system.openai import python_client
from tests.system.openai.node_client import Node
from tests.system.sse.cutting_relay import CuttingRelay

HERE: Final = Path(__file__).parent
NODE_CLIENTS: Final = ("eventsource", "eventsource-parser", "fetch-event-source")
PYTHON_CLIENTS: Final = ("httpx-sse", "requests-sse")
PIECES: Final = (
    "Grüße, ",
    "🍕 and ",
    "lines\u2028that ",
    'look like\n\nid: 9-9\n\ndata: {"text":"frames"}\n\n',
    "end.",
)
# Of the sample: one byte of so many. The bytes around each frame's end are always in it.
STEP: Final = 61

Run = Callable[[str, dict[str, Any]], AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Starts one of the clients, with the packages of its lock file."""

    def run(client: str, config: dict[str, Any]) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        if client in NODE_CLIENTS:
            if shutil.which("node") is None or shutil.which("npm") is None:
                pytest.skip("node and npm are not installed: the Node clients were not tested")
            packages = Node.install(tmp_path_factory, HERE / "node")
            return Node(packages, config, HERE / "node").start("parsers.mjs")
        python = python_client.installed("parsers", HERE / "python")
        return python_client.start(python, "parsers", config, HERE / "python")

    return run


async def finished_turn(gateway: Stage) -> str:
    """The address of a turn's stream whose turn has ended, so that its bytes are the same for every reader."""
    path = f"/chat/sessions/{await gateway.session()}"
    headers = {"Prefer": "respond-async"}
    async with gateway.client.post(gateway.url(path + "/messages"), json={"content": "hi"}, headers=headers) as posted:
        assert posted.status == 202
    turn_id = await gateway.admitted()
    await gateway.answer(turn_id, *PIECES)
    return gateway.url(f"{path}/turns/{turn_id}/events")


def ends(body: bytes) -> list[int]:
    """Where the stream's frames end."""
    return [index + 2 for index in range(len(body)) if body.startswith(b"\n\n", index)]


def around_ends(body: bytes) -> set[int]:
    return {cut for end in ends(body) for cut in range(end - 12, end + 3) if 0 <= cut <= len(body)}


async def check(start: Run, redis_url: str, client: str, choose: Callable[[bytes], Sequence[int]]) -> None:
    async with stage(redis_url) as gateway:
        target = await finished_turn(gateway)
        async with CuttingRelay(gateway.client, target) as relay:
            body = await relay.body()
            assert body.count(b"event: delta\n") == len(PIECES)
            cuts = set(choose(body))
            if client == "fetch-event-source":
                # It commits an id at its line's end: between a frame's last two bytes the fault is its own.
                cuts -= {end - 1 for end in ends(body)}
            urls = {relay.url(cut): cut for cut in sorted(cuts)}
            config = {"client": client, "urls": list(urls), "apiKey": gateway.key, "parallel": 16, "timeoutMs": 30_000}
            async with start(client, config) as answers:
                got = {urls[answer["url"]]: answer async for answer in answers}
    text = "".join(PIECES)
    assert set(got) == cuts
    assert {cut: answer for cut, answer in got.items() if (answer["text"], answer["stored"]) != (text, text)} == {}
    assert {cut: answer for cut, answer in got.items() if "error" in answer} == {}
    # Each connection was really cut; only a client that had all of the stream did not come back.
    assert all(answer["opened"] == 2 for cut, answer in got.items() if 0 < cut < len(body))
    assert relay.statuses == {200}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", [*NODE_CLIENTS, *PYTHON_CLIENTS])
async def test_a_stream_cut_around_a_frames_end_goes_on_where_it_was_cut(
    start: Run, redis_url: str, client: str
) -> None:
    await check(start, redis_url, client, lambda body: sorted({*around_ends(body), *range(0, len(body), STEP)}))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("client", [*NODE_CLIENTS, *PYTHON_CLIENTS])
async def test_a_stream_cut_at_any_byte_goes_on_where_it_was_cut(start: Run, redis_url: str, client: str) -> None:
    await check(start, redis_url, client, lambda body: range(len(body) + 1))
