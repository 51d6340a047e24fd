"""`parley doctor` beside a running stack: it finds each planted misconfiguration, and nothing in a healthy stack."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import orjson
import pytest

from deploy.doctor.configuration import local_environment
from deploy.doctor.examination import examine
from deploy.local.processes import free_port
from tests.conftest import eventually
from tests.programs import required_program
from tests.system.cli.test_parley_chat import run, user
from tests.system.nginx import CONFIG
from tests.system.stack import Stack, gather_bounded

NOWHERE = "http://127.0.0.1:9"


async def test_a_healthy_stack_has_no_finding_and_the_exit_code_is_zero(stack: Stack, tmp_path: Path) -> None:
    code, out, err = await run(
        "doctor", "--local", str(stack.data_dir), "--json", cwd=tmp_path, env=user(stack, tmp_path)
    )
    assert (code, orjson.loads(out)) == (0, {"errors": 0, "warnings": 0, "findings": []}), err


async def test_findings_for_people_name_the_mend_and_the_exit_code_is_one(stack: Stack, tmp_path: Path) -> None:
    """Without --local the stand-in of MongoDB is a fault."""
    env = {**user(stack, tmp_path), **local_environment(stack.data_dir)}
    code, out, err = await run("doctor", cwd=tmp_path, env=env)
    assert code == 1, err
    assert b"[stand_in]" in out
    assert b"To mend it: Point PARLEY_MONGODB_URI at a MongoDB replica set" in out
    assert stack.facts["internalToken"].encode() not in out + err


async def found_with(stack: Stack, url: str | None = None, **changes: str) -> set[str]:
    environment = local_environment(stack.data_dir)
    planted = {f"PARLEY_{name}": value for name, value in changes.items()}
    return {each.code for each in await examine({**environment, **planted}, url=url, is_local=True)}


# Each examination reads a stream of two seconds, so several are made at once. A gateway allows four.
AT_ONCE = 3
PLANTED = [
    ("INTERNAL_TOKEN", "", "configuration"),
    ("INTERNAL_TOKEN", "a-token-that-nobody-else-has", "internal_token"),
    ("SECRETS_KEYS", "", "secrets_keys_missing"),
    ("MONGODB_DATABASE", "unprepared", "indexes_missing"),
    ("MONGODB_URI", "mongodb://127.0.0.1:9/?retryWrites=false", "mongodb_unreachable"),
    ("QUEUE_REDIS_URL", "redis://127.0.0.1:9/0", "redis_unreachable"),
    ("HISTORY_URL", NOWHERE, "process_unreachable"),
    ("MODEL_BASE_URL", f"{NOWHERE}/v1", "upstream_unreachable"),
    ("MODEL_BASE_URL", "", "no_upstream"),
    ("PUBLIC_URL", NOWHERE, "gateway_unreachable"),
    ("PUBLIC_URL", "", "public_url_missing"),
]
NOT_SET = [("MONGODB_URI", "mongodb_not_examined"), ("MODEL_BASE_URL", "upstreams_not_examined")]


async def test_each_planted_misconfiguration_is_found_alone(stack: Stack) -> None:
    async def found(number: int) -> tuple[str, str, set[str]]:
        name, value, _ = PLANTED[number]
        return name, value, await found_with(stack, **{name: value})

    expected = [(name, value, {code}) for name, value, code in PLANTED]
    assert await gather_bounded(len(PLANTED), AT_ONCE, found) == expected


async def test_what_is_not_set_here_is_not_examined_and_that_is_told(stack: Stack) -> None:
    async def found(number: int) -> set[str]:
        environment = local_environment(stack.data_dir)
        del environment[f"PARLEY_{NOT_SET[number][0]}"]
        return {each.code for each in await examine(environment, is_local=True)}

    assert await gather_bounded(len(NOT_SET), AT_ONCE, found) == [{code} for _, code in NOT_SET]


UNSUITABLE = {
    "redis_evicts": ("--maxmemory-policy", "allkeys-lru"),
    "redis_cluster": ("--cluster-enabled", "yes"),
    "redis_replica": ("--replicaof", "127.0.0.1 9"),
}


@pytest.fixture
def unsuitable_redis(tmp_path: Path) -> Iterator[list[tuple[str, str]]]:
    """The URL of each real Redis, and the finding."""
    program = required_program("redis-server", "redis-server")
    with ExitStack() as running:
        servers = []
        for code, arguments in UNSUITABLE.items():
            port, directory = free_port(), tmp_path / code
            directory.mkdir()
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
            redis = running.enter_context(subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL))
            running.callback(redis.terminate)
            servers.append((f"redis://127.0.0.1:{port}/0", code))
        yield servers


async def test_a_real_redis_that_evicts_or_is_a_cluster_or_a_replica_is_found(
    stack: Stack, unsuitable_redis: list[tuple[str, str]]
) -> None:
    async def is_found(number: int) -> None:
        url, code = unsuitable_redis[number]

        async def told() -> bool:
            return code in await found_with(stack, STREAM_REDIS_URLS=url)

        await eventually(told, within_s=30, what=code)

    await gather_bounded(len(unsuitable_redis), AT_ONCE, is_found)


async def test_a_queue_that_no_worker_reads_is_found(stack: Stack, redis_url: str) -> None:
    redis = local_environment(stack.data_dir)["PARLEY_QUEUE_REDIS_URL"]
    assert await found_with(stack, QUEUE_REDIS_URL=redis_url, STREAM_REDIS_URLS=redis) == {"no_workers"}


@pytest.fixture
def buffering_nginx(stack: Stack, tmp_path: Path) -> Iterator[str]:
    """Its base URL. It ignores our header that turns buffering off, as an intermediate proxy does."""
    port, config = free_port(), tmp_path / "nginx.conf"
    server = f"server {stack.facts['baseUrl'].removeprefix('http://')};"
    text = CONFIG.format(directory=tmp_path, port=port, servers=server)
    buffering = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
    # With HTTP/1.1 to the gateway nginx passes each chunk on in spite of buffering. 1.0 is what it speaks by default.
    text = text.replace("proxy_buffering off;", buffering).replace("proxy_http_version 1.1;", "proxy_http_version 1.0;")
    config.write_text(text)
    program = required_program("nginx", "nginx-light")
    with subprocess.Popen([program, "-p", str(tmp_path), "-c", str(config)], stderr=subprocess.DEVNULL) as nginx:
        yield f"http://127.0.0.1:{port}"
        nginx.terminate()


async def test_a_proxy_that_holds_streams_back_is_found(
    stack: Stack, buffering_nginx: str, http: aiohttp.ClientSession
) -> None:
    async def answers() -> bool:
        try:
            async with http.get(f"{buffering_nginx}/healthz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(answers, what="nginx")
    assert await found_with(stack, url=buffering_nginx) == {"proxy_buffers"}
