"""Behind each proxy of deploy/proxies, the streams of a gateway that is killed resume at the other one."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually
from tests.system.proxies.running import Proxy
from tests.system.stack import Client, Stack, Transcript, read_to_end

TOKENS = 150
SLOW = f"scripted/tokens={TOKENS},delay=20,text=echo"
STREAMS = 4


@pytest.fixture(params=["nginx", "caddy", "haproxy"])
async def proxied(request: pytest.FixtureRequest, stack: Stack, tmp_path: Path) -> AsyncIterator[Client]:
    """A client behind a proxy before both gateways."""
    facts = stack.facts
    proxy = Proxy(request.param, tmp_path, facts["gateways"])
    context = ssl.create_default_context(cafile=str(proxy.authority))
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
            client = Client(http, proxy.url, facts["secretKey"])
            # Also the gateway that the test before has killed: else it has no stream.
            for gateway in (Client(http, url, facts["secretKey"]) for url in facts["gateways"]):
                await eventually(partial(answers, proxy, gateway), within_s=60, what="both gateways")
            await eventually(lambda: answers(proxy, client), within_s=30)
            yield client
    finally:
        proxy.stop()


async def answers(proxy: Proxy, client: Client) -> bool:
    assert proxy.is_running(), proxy.log
    try:
        status, _ = await client.call("GET", "/models")
    except aiohttp.ClientError:
        return False
    return status == 200


class Reader:
    def __init__(self, client: Client, session_id: str, number: int) -> None:
        self.client = client
        self.session_id = session_id
        self.question = f"question {number}"
        self.told = Transcript()
        self.resumed = 0

    async def read(self) -> None:
        body = {"content": self.question, "stream": True}
        async with self.client.request("POST", f"/chat/sessions/{self.session_id}/messages", body) as answer:
            assert answer.status == 200, await answer.text()
            await read_to_end(answer, self.told)
        while self.told.end is None:
            self.resumed += 1
            await eventually(self._follow, within_s=20)

    async def _follow(self) -> bool:
        turn_id = self.told.frames[0].data["turnId"]
        try:
            return await self.client.resume(self.session_id, turn_id, self.told) == 200
        except aiohttp.ClientError:
            return False


async def test_streams_of_a_killed_gateway_resume_without_a_gap(proxied: Client, stack: Stack) -> None:
    agent_id = await stack.publish(SLOW)
    readers = [Reader(proxied, await proxied.session(agent_id), number) for number in range(STREAMS)]
    victim = stack.facts["pids"]["gateway"][0]
    async with asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(reader.read())
        await eventually(lambda: all(len(reader.told.text) > 20 for reader in readers), within_s=30)
        os.kill(victim, signal.SIGKILL)
    assert any(reader.resumed for reader in readers), "no stream was on the gateway that was killed"
    for reader in readers:
        assert reader.told.end is not None
        assert reader.told.end.event == "done"
        assert "restarted" not in reader.told.events()
        assert reader.told.text == scripted_answer(reader.question, TOKENS)
    await eventually(lambda: victim not in stack.facts["pids"]["gateway"], within_s=30)
