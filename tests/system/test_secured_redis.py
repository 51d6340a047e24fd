"""A Redis with TLS and one user per service, and an internal API with mutual TLS: whole turns, a cancellation and an
outage, and nothing that is refused.
"""

import asyncio
import hashlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from deploy.local.processes import end, free_port
from deploy.local.stores import Server
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.keys import new_secret
from shared.history_client import HistoryClient
from shared.ids import new_id
from shared.internal_tls import InternalTls
from tests.certificates import Authority
from tests.conftest import eventually
from tests.programs import required_program
from tests.system.stack import ROOT, Client, Transcript

PASSWORDS = {name: f"{name}-password-of-the-tests" for name in ("gateway", "worker", "history", "admin")}
TOKEN = "internal-token-of-the-tests"


def users_file(directory: Path) -> Path:
    """The users of `deploy/redis`, as its README says, and an operator."""
    lines = ["user default off", f"user admin on >{PASSWORDS['admin']} ~* &* +@all"]
    for name in ("gateway", "worker", "history"):
        digest = hashlib.sha256(PASSWORDS[name].encode()).hexdigest()
        line = (ROOT / "deploy" / "redis" / f"{name}.acl").read_text().strip()
        lines.append(line.replace(f"{name.upper()}_PASSWORD_SHA256", digest))
    path = directory / "users.acl"
    path.write_text("\n".join(lines) + "\n")
    return path


class SecuredRedis:
    """A Redis that has a TLS port only."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self.authority = Authority(directory)
        pair = self.authority.pair("redis")
        tls = ["--tls-port", str(self.port), "--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key)]
        tls += ["--tls-ca-cert-file", str(self.authority.cert), "--tls-auth-clients", "no"]
        places = ["--bind", "127.0.0.1", "--port", "0", "--dir", str(directory), "--appendonly", "yes"]
        program = required_program("redis-server", "redis-server")
        self._command = [program, *places, *tls, "--aclfile", str(users_file(directory)), "--save", ""]
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        with (self._directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self.process

    def url(self, name: str) -> str:
        user = name if name == "admin" else f"parley-{name}"
        options = f"ssl_ca_certs={self.authority.cert}&ssl_check_hostname=true"
        return f"rediss://{user}:{PASSWORDS[name]}@127.0.0.1:{self.port}/0?{options}"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    redis = SecuredRedis(tmp_path_factory.mktemp("secured"))
    yield redis
    end(redis.process, 10.0)


@pytest.fixture(scope="module")
def product(
    redis: SecuredRedis, mongodb_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """One process of each service with its own user, and the demo model; their ports and a key."""
    directory, key = tmp_path_factory.mktemp("product"), new_secret("test")
    ports = {name: free_port() for name in ("gateway", "private", "worker", "history", "model")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    modules = {
        "history": ("services.history", {"PARLEY_MONGODB_URI": mongodb_server.url, "PARLEY_BOOTSTRAP_KEY": key}),
        "worker": ("services.agent_worker", {"PARLEY_MODEL_BASE_URL": f"http://127.0.0.1:{ports['model']}/v1"}),
        "gateway": ("services.gateway", {"PARLEY_PRIVATE_PORT": str(ports["private"])}),
        "model": ("deploy.demo.model", {"PARLEY_DEMO_DELAY_MS": "20"}),
    }
    with ExitStack() as stack:
        for name, (module, own) in modules.items():
            secret = directory / f"{name}.url"
            secret.write_text(redis.url(name) if name in PASSWORDS else "redis://127.0.0.1:1")
            pair = redis.authority.pair(name)
            environment = {
                **plain,
                **own,
                "PARLEY_INTERNAL_TLS_CA": str(redis.authority.cert),
                "PARLEY_INTERNAL_TLS_CERT": str(pair.cert),
                "PARLEY_INTERNAL_TLS_KEY": str(pair.key),
                "PARLEY_INTERNAL_TOKEN": TOKEN,
                "PARLEY_MONGODB_DATABASE": "secured",
                "PARLEY_QUEUE_REDIS_URL_FILE": str(secret),
                "PARLEY_HISTORY_URL": f"https://127.0.0.1:{ports['history']}",
                "PARLEY_HOST": "127.0.0.1",
                "PARLEY_PORT": str(ports[name]),
            }
            if name == "model":
                environment.pop("PARLEY_QUEUE_REDIS_URL_FILE")
            log = stack.enter_context((directory / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
            stack.callback(end, process, 10.0)
        pair = redis.authority.pair("operator")
        tls = InternalTls(str(redis.authority.cert), str(pair.cert), str(pair.key)).client()
        yield {"ports": ports, "key": key, "logs": directory, "tls": tls, "authority": redis.authority.cert}


@pytest.fixture
async def admin(redis: SecuredRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis.url("admin")) as admin:
        yield admin


async def is_ready(http: aiohttp.ClientSession, product: dict[str, Any]) -> bool:
    # A probe has no certificate of its own.
    probe = ssl.create_default_context(cafile=str(product["authority"]))
    for name, scheme in (("private", "http"), ("worker", "http"), ("history", "https")):
        try:
            async with http.get(f"{scheme}://127.0.0.1:{product['ports'][name]}/readyz", ssl=probe) as response:
                if response.status != 200:
                    return False
        except aiohttp.ClientError:
            return False
    return True


async def test_turns_run_with_one_user_per_service_over_tls_and_after_an_outage(
    http: aiohttp.ClientSession, redis: SecuredRedis, product: dict[str, Any], admin: Redis
) -> None:
    await eventually(lambda: is_ready(http, product), within_s=30.0, what="a ready product")
    client = Client(http, f"http://127.0.0.1:{product['ports']['gateway']}", product["key"])
    agent_id = new_id("agt")
    url, tls = f"https://127.0.0.1:{product['ports']['history']}", product["tls"]
    async with HistoryClient([url], TOKEN, timeout_s=15, tls=tls) as history:
        config = AgentConfig(name="Mia", model=ModelChoice(name="scripted/tokens=40,text=echo"))
        await history.put_agent("default", agent_id, config)
        await history.publish_agent("default", agent_id, [])

    async def key_works() -> bool:
        """History stores the bootstrap key soon after its start."""
        return (await client.call("GET", "/models"))[0] == 200

    await eventually(key_works, within_s=30.0, what="the bootstrap key")
    session_id = await client.session(agent_id)
    assert (await client.ask(session_id, "one")).events()[-1] == "done"

    # A turn is cancelled while it runs.
    slow = await client.session(agent_id)
    status, turn = await client.call(
        "POST", f"/chat/sessions/{slow}/messages", {"content": "two"}, Prefer="respond-async"
    )
    assert status == 202, turn
    await client.call("POST", f"/chat/sessions/{slow}/turns/{turn['data']['turnId']}/cancel")
    assert await client.resume(slow, turn["data"]["turnId"], transcript := Transcript()) == 200
    assert transcript.end is not None

    # Redis goes away and comes back while a turn runs.
    asked = asyncio.create_task(client.ask(session_id, "three"))
    await asyncio.to_thread(end, redis.process, 10.0)
    redis.start()
    try:
        await asked
    except (aiohttp.ClientError, AssertionError):
        await eventually(lambda: is_ready(http, product), within_s=30.0, what="a ready product")

    async def answers() -> bool:
        try:
            return (await client.ask(await client.session(agent_id), "four")).end is not None
        except (aiohttp.ClientError, AssertionError):
            return False

    await eventually(answers, within_s=30.0, what="a turn after the outage")
    status, _ = await client.call("DELETE", f"/chat/sessions/{session_id}")
    assert status in (200, 204)
    refused = {
        (row["username"], row["reason"], row["object"]) for row in await admin.acl_log() if row["username"] != "default"
    }
    assert refused == set()
    for log in product["logs"].glob("*.log"):
        assert not any(password in log.read_text() for password in PASSWORDS.values()), log.name


@pytest.mark.parametrize("name", ["gateway", "worker", "history"])
async def test_a_service_may_do_nothing_else_in_redis(admin: Redis, name: str) -> None:
    refused = [
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("DEBUG", "SLEEP", "0"),
        ("MONITOR",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("SHUTDOWN",),
        ("SET", "other", "1"),
        ("PUBLISH", "other", "1"),
        ("SUBSCRIBE", "other"),
    ]
    run: Any = admin.execute_command
    for command in refused:
        answer = await run("ACL", "DRYRUN", f"parley-{name}", *command)
        assert answer != b"OK", command
    writes = await run("ACL", "DRYRUN", "parley-gateway", "XADD", "turn:a:b", "*", "f", "1")
    assert writes != b"OK"
