"""A stack, its backup, another machine: old keys, sessions, knowledge and sums of use are there, and turns end well."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest

from deploy.local.stores import Server
from shared.tasks import end_tasks
from tests.conftest import eventually
from tests.system.stack import ROOT, Client, Stack, Transcript, read_to_end
from tests.system.test_knowledge import DRAFT, MANUAL, published, upload

pytestmark = pytest.mark.long

SLOW = "scripted/tokens=800,delay=50,text=echo"
QUESTION = "How often is the blue filter rinsed?"
HOOK = {"url": "http://127.0.0.1:9/nobody", "events": ["session.ended"]}


@pytest.fixture
def stacks(mongodb_server: Server, tmp_path: Path) -> Iterator["Stacks"]:
    made = Stacks(mongodb_server.url, tmp_path)
    yield made
    made.stop()


class Stacks:
    """Stacks with nothing in common but MongoDB's server, where each has a database, and the sealing key."""

    def __init__(self, mongodb_uri: str, directory: Path) -> None:
        self._uri = mongodb_uri
        self._directory = directory
        self._running: list[Stack] = []
        self._sealing_key = ""

    def start(self, database: str) -> Stack:
        directory = self._directory / database
        directory.mkdir()
        environment = {"PARLEY_MONGODB_URI": self._uri, "PARLEY_MONGODB_DATABASE": database}
        environment |= {"PARLEY_WEBHOOK_ALLOW": "127.0.0.1", "PARLEY_WEBHOOK_PORTS": "9", "PARLEY_DRAIN_S": "1"}
        if self._sealing_key:
            environment["PARLEY_SECRETS_KEYS"] = self._sealing_key
        stack = Stack.start(directory, environment=environment)
        self._running.append(stack)
        state = orjson.loads((stack.data_dir / "state.json").read_bytes())
        self._sealing_key = self._sealing_key or state["toolSecretsKey"]
        return stack

    def stop(self) -> None:
        while self._running:
            self._running.pop().stop()

    def parley(self, database: str, *arguments: str) -> str:
        own = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        own |= {"PARLEY_MONGODB_URI": self._uri, "PARLEY_MONGODB_DATABASE": database, "PARLEY_INTERNAL_TOKEN": "t" * 32}
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr


async def test_a_restored_stack_answers_with_old_keys_on_old_sessions_and_ends_what_ran(
    stacks: Stacks, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    before, after = f"before_{uuid4().hex[:8]}", f"after_{uuid4().hex[:8]}"
    first = stacks.start(before)
    client = Client(http, first.facts["gateways"][0], first.facts["secretKey"])
    agent = await _call(client, "POST", "/agents", DRAFT)
    assert (await upload(client, agent["id"], "aqua.md", MANUAL))[0] == 202
    await published(client, agent["id"])
    hook = await _call(client, "POST", "/webhooks", HOOK)
    session = await client.session(agent["id"])
    told = await client.ask(session, QUESTION)
    assert "17 days" in told.text
    slow = await client.session(await first.publish(SLOW))
    await eventually(lambda: _has_usage(client, agent["id"]), what="the use")
    usage = await _usage(client, agent["id"])
    turn = await _backed_up_meanwhile(client, slow, lambda: stacks.parley(before, "backup", str(tmp_path / "nightly")))
    stacks.stop()
    assert "is whole" in stacks.parley(after, "restore", "--check", str(tmp_path / "nightly"))
    stacks.parley(after, "restore", str(tmp_path / "nightly"))

    second = stacks.start(after)
    client = Client(http, second.facts["gateways"][0], client.headers["Authorization"].removeprefix("Bearer "))
    assert await _usage(client, agent["id"]) == usage
    assert [row["content"] for row in await client.messages(session)][-1] == told.text
    again = await client.ask(session, QUESTION)
    assert again.end is not None
    assert (again.end.event, "17 days" in again.text, "[1]" in again.text) == ("done", True, True), again.text
    passages = next(frame for frame in again.frames if frame.event == "kb_retrieval").data["passages"]
    assert "17 days" in passages[0]["text"]
    rest = Transcript()
    assert await client.resume(slow, turn, rest) == 200
    assert rest.end is not None
    assert (rest.end.event, await client.stored_text(slow, turn)) == ("done", rest.text)
    assert hook["id"] in [row["id"] for row in await _call(client, "GET", "/webhooks")]


async def _call(client: Client, method: str, path: str, body: Any = None) -> Any:
    status, found = await client.call(method, path, body)
    assert status in (200, 201, 202), found
    return found["data"]


async def _backed_up_meanwhile(client: Client, session: str, back_up: Callable[[], str]) -> str:
    """The id of the turn whose text was on its way."""
    body, told = {"content": "Still there?", "stream": True}, Transcript()
    async with client.request("POST", f"/chat/sessions/{session}/messages", body) as answer:
        reading = asyncio.create_task(read_to_end(answer, told))
        await eventually(lambda: told.text != "", what="a first text")
        assert "is complete" in await asyncio.to_thread(back_up)
        await end_tasks([reading])
    return str(told.frames[0].data["turnId"])


async def _usage(client: Client, agent: str) -> Any:
    return await _call(client, "GET", f"/usage?groupBy=agent&agentId={agent}")


async def _has_usage(client: Client, agent: str) -> bool:
    found = await _usage(client, agent)
    return bool(found and found[0]["turns"])
