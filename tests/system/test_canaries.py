"""Forty secrets go through the product while its processes are killed; none is found where it does not belong."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from redis.asyncio import Redis

from shared.contracts.agents import AgentConfig
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.agent_worker.stage import serving
from tests.system.stack import Client, Stack, Transcript

pytestmark = pytest.mark.long
MODEL = 'scripted/tokens=40,delay=20,tool=look_up:{"id":"1"}'


class Canaries:
    """Makes secrets that can be told apart, and finds them again."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {}

    def new(self, what: str) -> str:
        secret = f"canary{len(self.all):02d}x{os.urandom(9).hex()}"
        self.all[what] = secret
        return secret

    def issued(self, what: str, secret: str) -> str:
        """A secret that the product itself has made."""
        self.all[what] = secret
        return secret

    def signing(self, what: str) -> str:
        secret = base64.b64encode(self.new(what).encode()).decode()
        self.all[what] = secret
        return f"whsec_{secret}"

    def found_in(self, text: bytes) -> list[str]:
        return [what for what, secret in self.all.items() if secret.encode() in text]


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def own_stack(canaries: Canaries, tmp_path_factory: pytest.TempPathFactory) -> Any:
    environment = {
        "PARLEY_LOG_LEVEL": "debug",
        "PARLEY_LOG_KEEP_S": "1",
        "PARLEY_TOOL_ALLOW": "127.0.0.1",
        "PARLEY_MODEL_API_KEY": canaries.new("an upstream's key"),
        "PARLEY_INTERNAL_TOKEN": canaries.new("the internal token"),
    }
    stack = Stack.start(tmp_path_factory.mktemp("canaries"), "--gateways", "2", environment=environment)
    yield stack
    stack.stop()


@pytest.fixture
async def tool_url(canaries: Canaries) -> AsyncIterator[str]:
    result = canaries.new("a tool's result")

    async def look_up(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.json_response({"secret": result})

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=500, text=result)

    async def hook(_: web.Request) -> web.Response:
        return web.json_response({"action": "allow"})

    async with serving(web.post("/look_up", look_up), web.post("/fail", fail), web.post("/hook", hook)) as url:
        yield url


async def agent(stack: Stack, canaries: Canaries, url: str, path: str) -> str:
    """An agent whose tool and guardrail have secrets."""
    tool = {
        "name": "look_up",
        "url": f"{url}/{path}",
        "secretHeaders": {"X-Key": {"value": canaries.new(f"a secret header of {path}")}},
        "signingSecret": {"value": canaries.signing(f"a signing secret of {path}")},
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
    }
    guardrail = {
        "kind": "http",
        "name": "hook",
        "stage": "output",
        "url": f"{url}/{'hook' if path == 'look_up' else 'fail'}",
        "onFailure": "allow",
        "secretHeaders": {"Authorization": {"value": "Bearer " + canaries.new(f"a guardrail's header, {path}")}},
        "signingSecret": {"value": canaries.signing(f"a guardrail's signing secret, {path}")},
    }
    config = {"name": "Mia", "model": {"name": MODEL}, "tools": [tool], "guardrails": [guardrail]}
    agent_id = new_id("agt")
    async with stack.history() as history:
        await history.put_agent(stack.facts["workspace"], agent_id, AgentConfig.model_validate(config))
        await history.publish_agent(stack.facts["workspace"], agent_id, [])
    return agent_id


def bad_requests(canaries: Canaries, session_id: str) -> list[tuple[str, str, dict[str, str], Any]]:
    """Method, path, headers and body of requests that are refused."""
    new = canaries.new
    json_type = {"Content-Type": "application/json"}
    good = {"Authorization": "Bearer GOOD", **json_type}
    messages = f"/chat/sessions/{session_id}/messages"
    return [
        ("GET", "/models", {"Authorization": f"Bearer {new('a bearer token')}"}, None),
        ("GET", "/models", {"Authorization": f"Bearer parley_sk_live_{new('a key')}"}, None),
        ("GET", "/models", {"Authorization": f"Bearer parley_pk_test_{new('a publishable key')}"}, None),
        ("GET", "/models", {"Authorization": f"Bearer parley_vt_{new('a visitor token')}"}, None),
        ("GET", "/models", {"Authorization": f"Basic {new('a password')}"}, None),
        ("GET", "/models", {"Authorization": new("a bare key")}, None),
        ("GET", "/models", {"X-Api-Key": new("another header")}, None),
        ("GET", "/models", {"Cookie": f"key={new('a cookie')}"}, None),
        ("GET", "/models", {"Proxy-Authorization": f"Bearer {new('a proxy key')}"}, None),
        ("GET", "/models", {**good, "X-Client-Request-Id": f"Bearer {new('a request id')}"}, None),
        ("GET", f"/models?api_key={new('api_key in the URL')}", good, None),
        ("GET", f"/models?key={new('key in the URL')}", good, None),
        ("GET", f"/models?token={new('token in the URL')}", good, None),
        ("GET", f"/models?q=parley_sk_live_{new('any parameter')}", good, None),
        ("GET", f"/chat/sessions/{new('a path')}", good, None),
        ("GET", f"/{new('an unknown path')}", good, None),
        ("GET", f"/chat/sessions?cursor={new('a cursor')}", good, None),
        ("GET", f"/chat/sessions/{session_id}/messages?order={new('a choice')}", good, None),
        ("POST", messages, good, {"content": {"key": new("a body of another type")}}),
        ("POST", messages, good, {"content": "x", "metadata": {"a": [new("metadata")]}}),
        ("POST", messages, good, {"content": "x", "stream": new("a flag")}),
        ("POST", messages, {**good, "Idempotency-Key": f"{new('an idempotency key')} x"}, {"content": "x"}),
        ("POST", messages, good, f'{{"content": "{new("broken JSON")}'.encode()),
        ("POST", "/chat/sessions", good, {"agentId": new("an id")}),
        ("POST", "/chat/completions", good, {"model": new("a model"), "messages": [{"role": "user", "content": "x"}]}),
        ("POST", "/chat/completions", good, {"model": "x", "messages": [{"role": new("a role"), "content": "x"}]}),
        ("POST", "/chat/completions", {"Authorization": f"Bearer {new('a key beside a body')}", **json_type}, {"a": 1}),
        ("POST", "/agents", good, {"name": "x", "model": {"name": "m"}, "tools": [{"kind": "http", "name": "t",
            "url": "ftp://x", "secretHeaders": {"X-Key": {"value": new("a secret of a bad tool")}}}]}),
        ("POST", "/agents", good, {"name": "x", "model": {"name": "m"}, "guardrails": [{"kind": "http", "name": "g",
            "stage": "input", "url": "https://x.example", "signingSecret": {"value": new("a bad signing secret")}}]}),
    ]  # fmt: skip


async def visitor(clients: list[Client], canaries: Canaries, agent_id: str, said: str) -> list[bytes]:
    """A visitor's session, whose token is used where it may be and where it may not. Bodies of the refusals."""
    client = clients[0]
    origin = {"Origin": "https://shop.example"}
    new_key = {"allowedOrigins": ["https://shop.example"]}
    status, key = await client.call("POST", f"/agents/{agent_id}/publishable-keys", new_key)
    assert status == 201, key
    publishable = {"Authorization": f"Bearer {key['data']['secret']}", **origin, "Content-Type": "application/json"}
    root = f"{client.base_url}/api/v1"
    async with client.http.post(f"{root}/chat/widget/sessions", headers=publishable, json={}) as answer:
        visit = (await answer.json())["data"]
    token = canaries.issued("a visitor's own token", visit["visitorToken"])
    canaries.issued("the signature of a visitor's token", token.rpartition(".")[2])
    mine, session = {"Authorization": f"Bearer {token}", **origin}, visit["session"]["id"]
    posted = {"content": said, "stream": False}
    async with client.http.post(f"{root}/chat/sessions/{session}/messages", headers=mine, json=posted) as answer:
        assert answer.status == 200, await answer.text()
    refused: list[tuple[str, str, dict[str, str], Any]] = [
        ("GET", "/agents", mine, None),
        ("GET", f"/chat/sessions/{session}?token={token}", mine, None),
        ("GET", f"/chat/sessions/{new_id('ses')}", mine, None),
        ("POST", "/chat/widget/sessions", publishable, {"visitorToken": token, "resume": 7}),
        ("POST", f"/chat/sessions/{session}/messages", mine, {"content": 7, "visitorToken": token}),
        ("GET", f"/chat/sessions/{session}", {"Authorization": f"Basic {token}", **origin}, None),
        ("GET", f"/chat/sessions/{session}", {**mine, "Authorization": f"Bearer {token}x"}, None),
    ]
    errors = []
    for method, path, headers, body in refused:
        async with client.http.request(method, root + path, headers=headers, json=body) as answer:
            errors.append(await answer.read())
            assert answer.status >= 400, (method, path)
    return errors


def broken_lines(canaries: Canaries) -> list[bytes]:
    new = canaries.new
    return [
        f"Authorization : Bearer {new('a header with a space')}".encode(),
        f"Authorization: Bearer {new('a header with a NUL')}".encode() + b"\x00",
        new("a line that is no header").encode(),
    ]


async def collected(clients: list[Client], canaries: Canaries, session_id: str) -> list[bytes]:
    """Bodies of all refusals."""
    errors = []
    for number, (method, path, headers, body) in enumerate(bad_requests(canaries, session_id)):
        client = clients[number % len(clients)]
        sent = {name: value.replace("Bearer GOOD", client.headers["Authorization"]) for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        url = f"{client.base_url}/api/v1{path}"
        async with client.http.request(method, url, headers=sent, data=data) as answer:
            raw = await answer.read()
            if answer.status >= 400:
                errors.append(raw)
    start = b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\n"
    errors += [await _raw(clients[0].base_url, start + line + b"\r\n\r\n") for line in broken_lines(canaries)]
    return errors


async def _raw(base: str, data: bytes) -> bytes:
    host, _, port = base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


async def kept_in_redis(url: str) -> bytes:
    """Every key with all that it holds."""
    found = []
    async with Redis.from_url(url) as redis:
        async for key in redis.scan_iter():
            kind = (await redis.type(key)).decode()
            read: dict[str, Any] = {
                "string": redis.get,
                "hash": redis.hgetall,
                "list": partial(redis.lrange, start=0, end=-1),
                "set": redis.smembers,
                "zset": partial(redis.zrange, start=0, end=-1),
                "stream": redis.xrange,
            }
            found.append(key + b" " + repr(await read[kind](key)).encode())
    return b"\n".join(found)


async def kill(stack: Stack, group: str) -> None:
    for pid in stack.facts["pids"][group]:
        os.kill(pid, signal.SIGKILL)


async def test_no_secret_is_found_in_logs_redis_metrics_and_error_bodies_after_kills(
    own_stack: Stack, canaries: Canaries, tool_url: str, http: aiohttp.ClientSession
) -> None:
    facts = own_stack.facts
    clients = [Client(http, url, facts["secretKey"]) for url in facts["gateways"]]
    said = canaries.new("a user's message")
    agents = [await agent(own_stack, canaries, tool_url, path) for path in ("look_up", "fail")]
    sessions = [await clients[0].session(agent_id) for agent_id in agents]
    errors = await collected(clients, canaries, sessions[0])
    async with http.get(f"{facts['historyUrls'][0]}/workspaces", headers={
        "Authorization": f"Bearer {canaries.new('a guess at the internal token')}"
    }) as answer:  # fmt: skip
        errors.append(await answer.read())

    errors += await visitor(clients, canaries, agents[0], said)
    for session_id in sessions:
        # Its worker is killed while the turn runs, and history soon after.
        asked = asyncio.create_task(clients[0].ask(session_id, said))
        await asyncio.sleep(0.3)
        await kill(own_stack, "worker")
        await kill(own_stack, "history")
        assert isinstance(await asked, Transcript)
        assert (await clients[1].ask(session_id, f"{said} again")).end is not None
    await kill(own_stack, "gateway")
    for url in facts["gateways"]:
        await eventually(partial(_answers, http, url), within_s=30.0, what="a gateway")
    assert len(canaries.all) >= 40

    assert [canaries.found_in(error) for error in errors] == [[]] * len(errors)
    for group in ("gateway", "worker", "history"):
        for url in facts["metrics"][group]:
            async with http.get(url) as answer:
                assert canaries.found_in(await answer.read()) == [], url
    for log in sorted(Path(own_stack.data_dir / "logs").iterdir()):
        assert canaries.found_in(log.read_bytes()) == [], log.name

    async def redis_is_clean() -> bool:
        """Run logs have the turns' texts, until they expire."""
        return canaries.found_in(await kept_in_redis(facts["redisUrl"])) == []

    await eventually(redis_is_clean, within_s=30.0, what="a Redis without any of the secrets")


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
