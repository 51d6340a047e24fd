"""A background loop that ends by itself ends its process, with an error in the log and a status that makes a
supervisor restart it.
"""

import asyncio
import os
import sys

import orjson
import pytest

from deploy.local.processes import free_port

MODULES = {
    "poll": "services.agent_worker",
    "renew": "services.agent_worker",
    "control": "services.agent_worker",
    "backlog": "services.agent_worker",
    "run_log_0": "services.agent_worker",
    "previews": "services.agent_worker",
    "knowledge": "services.agent_worker",
    "outbox": "services.history",
    "reconciler": "services.history",
    "webhook_relay": "services.history",
    "webhook_sender": "services.history",
    "pubsub_0": "services.gateway",
    "heartbeats": "services.gateway",
    "disconnects": "services.gateway",
    "queue_age": "services.gateway",
    "stream_places": "services.gateway",
}


@pytest.mark.parametrize("loop", MODULES)
async def test_a_loop_that_fails_ends_its_process_loudly(loop: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PARLEY_PORT": str(free_port()),
        **({"PARLEY_PRIVATE_PORT": str(free_port())} if MODULES[loop] == "services.gateway" else {}),
        "PARLEY_INTERNAL_TOKEN": "a-token-for-tests-only",
        "PARLEY_QUEUE_REDIS_URL": "redis://127.0.0.1:9/0",
        "PARLEY_HISTORY_URL": "http://127.0.0.1:9",
        "PARLEY_QUEUE_AGE_LIMIT_S": "60",
    }
    command = [sys.executable, "-m", "tests.system.loop_ender", loop, MODULES[loop]]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 1, errors.decode()
    lines = [orjson.loads(line) for line in output.splitlines()]
    (ended,) = [line for line in lines if line["event"] == "loop_ended"]
    assert (ended["loop"], ended["level"], ended["error"]) == (loop, "error", "RuntimeError")
