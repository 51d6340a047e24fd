"""A real worker process, started and stopped as an operator does it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from deploy.local.processes import free_port
from shared.contracts.turns import ClaimTurn, StartAttempt
from shared.web.bodies import json_response
from tests.conftest import eventually
from tests.service.agent_worker.stage import Stage, serving

TOKEN = "a-token-for-tests-only"


def history_routes(stage: Stage) -> list[web.RouteDef]:
    """As much of history's HTTP API as one turn takes."""

    async def claim(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        order = ClaimTurn.model_validate(orjson.loads(await request.read()))
        claimed = await stage.history.claim(request.match_info["workspace"], request.match_info["turn"], order)
        return json_response(claimed.wire())

    async def begin(request: web.Request) -> web.Response:
        order = StartAttempt.model_validate(orjson.loads(await request.read()))
        place = request.match_info["workspace"], request.match_info["turn"]
        return json_response((await stage.history.start_attempt(*place, order)).wire())

    async def release(request: web.Request) -> web.Response:
        order = orjson.loads(await request.read())
        await stage.history.release(request.match_info["workspace"], request.match_info["turn"], order["attempt"])
        return json_response({})

    async def ready(_: web.Request) -> web.Response:
        return json_response({})

    turn = "/workspaces/{workspace}/turns/{turn}"
    return [
        web.post(f"{turn}/claim", claim),
        web.post(f"{turn}/attempts", begin),
        web.post(f"{turn}/release", release),
        web.get("/readyz", ready),
    ]


@asynccontextmanager
async def worker_process(
    environment: dict[str, str], log: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    port = free_port()
    given = {
        "PATH": os.environ["PATH"],
        "PARLEY_PORT": str(port),
        "PARLEY_INTERNAL_TOKEN": TOKEN,
        "PARLEY_DRAIN_S": "0.3",
        "PARLEY_LEASE_S": "1",
        **environment,
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "services.agent_worker", env=given, stdout=output, stderr=output
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def status_of(url: str) -> tuple[int, Any]:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.json(content_type=None)
    except aiohttp.ClientError:
        return 0, None


async def test_a_worker_process_runs_turns_and_stops_when_told(stage: Stage, tmp_path: Path) -> None:
    async with serving(*history_routes(stage)) as history_url:
        environment = {
            "PARLEY_QUEUE_REDIS_URL": stage.redis_url,
            "PARLEY_HISTORY_URL": history_url,
            "PARLEY_MODEL_BASE_URL": f"{stage.model_url}/v1",
        }
        log = tmp_path / "worker.log"
        async with worker_process(environment, log) as (process, url):

            async def is_ready() -> bool:
                return (await status_of(f"{url}/readyz"))[0] == 200

            await eventually(is_ready, within_s=15)
            ended = await stage.ended(await stage.post(stage.agent(), "the secret question"))
            assert ended.turn.status == "completed"
            slow = await stage.post(stage.agent("scripted/tokens=1000,delay=50"), number=2)
            await stage.shows(slow, "delta")
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await process.wait() == 0
        lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert await stage.queue.position(slow.turn_id) == 0
    assert stage.history.turns[slow.turn_id].tries == 0
    assert {"worker_started", "turn_finished", "turn_requeued", "worker_stopped"} <= {line["event"] for line in lines}
    assert not [line for line in lines if line["level"] == "error"]
    assert b"secret question" not in log.read_bytes()
    (summary,) = [line for line in lines if line["event"] == "turn_finished"]
    assert {"turn_id", "session_id", "attempt", "status", "duration_s", "completion_tokens"} <= summary.keys()


async def test_a_worker_process_lives_without_its_neighbours_and_says_what_is_missing(tmp_path: Path) -> None:
    environment = {"PARLEY_QUEUE_REDIS_URL": "redis://127.0.0.1:9/0", "PARLEY_HISTORY_URL": "http://127.0.0.1:9"}
    async with worker_process(environment, tmp_path / "worker.log") as (process, url):

        async def is_alive() -> bool:
            return (await status_of(f"{url}/healthz"))[0] == 200

        await eventually(is_alive, within_s=15)
        status, told = await status_of(f"{url}/readyz")
        assert (status, told["failing"]) == (503, ["queue", "streams", "history"])
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
