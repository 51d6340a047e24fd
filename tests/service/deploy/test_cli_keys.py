"""`parley keys` and `parley workspaces`, run as programs against a gateway and a history."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import orjson
import pytest

from services.history.erasures import receipts
from shared.contracts.errors import ApiError
from shared.contracts.keys import digest_of
from tests.service.gateway.edge.workspace_scene import OWN, Scene, scene
from tests.service.history.running import TOKEN

ROOT: Final = Path(__file__).parents[3]


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def parley(stage: Scene, home: Path, *arguments: str, stdin: str = "", key: str | None = None) -> Done:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "XDG_"))}
    variables = {
        "HOME": str(home),
        "PARLEY_URL": stage.base.removesuffix("/api/v1"),
        "PARLEY_API_KEY": key or stage.own.all_scopes.secret,
    }
    if arguments[0] == "workspaces":
        variables = {"PARLEY_HISTORY_URL": stage.history.base_url, "PARLEY_INTERNAL_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "deploy.cli", *arguments),
        cwd=ROOT,
        env=plain | variables,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    return Done(process.returncode or 0, out.decode(), err.decode())


async def works(stage: Scene, secret: str) -> bool:
    try:
        await stage.history.client.resolve_key(digest_of(secret))
    except ApiError:
        return False
    return True


async def test_a_key_is_made_listed_rotated_and_revoked(stage: Scene, tmp_path: Path) -> None:
    made = await parley(stage, tmp_path, "keys", "create", "--label", "Shop", "--scope", "chat:read", "--days", "30")
    assert made.code == 0, made.err
    secret, key_id = made.out.strip(), made.err.split(":")[0]
    assert await works(stage, secret)
    listed = await parley(stage, tmp_path, "keys", "list")
    assert key_id in listed.out
    assert "Shop" in listed.out
    assert secret not in listed.out
    change = ("--label", "Till", "--no-expiry", "--weight", "3", "--rpm", "0")
    changed = await parley(stage, tmp_path, "keys", "change", key_id, *change, "--json")
    assert changed.code == 0, changed.err
    now = orjson.loads(changed.out)
    assert (now["label"], now["expiresAt"], now["weight"], now["rateLimitRpm"]) == ("Till", None, 3, None)
    rotated = await parley(stage, tmp_path, "keys", "rotate", key_id, "--grace", "0", "--json")
    new = orjson.loads(rotated.out)["secret"]
    assert (await works(stage, secret), await works(stage, new)) == (False, True)
    assert (await parley(stage, tmp_path, "keys", "revoke", key_id)).code == 0
    assert not await works(stage, new)
    assert (await parley(stage, tmp_path, "keys", "list", key=new)).code == 4


async def test_a_change_says_what_is_to_change(stage: Scene, tmp_path: Path) -> None:
    key = stage.own.ids["secretKeyId"]
    for arguments in ((), ("--days", "1", "--no-expiry"), ("--origin", "https://a.example"), ("--weight", "0")):
        assert (await parley(stage, tmp_path, "keys", "change", key, *arguments)).code == 2


async def test_a_publishable_key_needs_its_agent_and_its_sites(stage: Scene, tmp_path: Path) -> None:
    agent = stage.own.ids["agentId"]
    site = ("--origin", "https://shop.example")
    made = await parley(stage, tmp_path, "keys", "create", "--agent", agent, *site)
    assert made.code == 0, made.err
    assert made.out.startswith("parley_pk_live_")
    assert "https://shop.example" in (await parley(stage, tmp_path, "keys", "list", "--agent", agent)).out
    for arguments in ((), ("--agent", agent), site, ("--agent", agent, *site, "--scope", "chat:read")):
        assert (await parley(stage, tmp_path, "keys", "create", *arguments)).code == 2


async def test_a_secret_in_the_place_of_an_id_is_not_sent(stage: Scene, tmp_path: Path) -> None:
    secret = stage.own.all_scopes.secret
    done = await parley(stage, tmp_path, "keys", "revoke", secret)
    assert done.code == 2
    assert secret not in done.out + done.err


async def test_a_workspace_is_made_with_its_first_key_and_deleted_with_a_receipt(stage: Scene, tmp_path: Path) -> None:
    made = await parley(stage, tmp_path, "workspaces", "create", "fresh")
    assert made.code == 0, made.err
    assert await works(stage, made.out.strip())
    listed = await parley(stage, tmp_path, "workspaces", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == [OWN, "fresh", "rival"]
    wrong = await parley(stage, tmp_path, "workspaces", "delete", "fresh", stdin="stale\n")
    assert wrong.code == 1
    assert await works(stage, made.out.strip())
    deleting = asyncio.create_task(parley(stage, tmp_path, "workspaces", "delete", "fresh", stdin="fresh\n"))
    while not deleting.done():
        await stage.history.dependencies.reconciler.round()
        await asyncio.wait([deleting], timeout=0.1)
    done = deleting.result()
    assert done.code == 0, done.err
    assert "keys  1" in done.out
    assert not await works(stage, made.out.strip())
    assert "fresh  deleted  erased at" in (await parley(stage, tmp_path, "workspaces", "list")).out
    assert (await parley(stage, tmp_path, "workspaces", "create", "fresh")).code == 1
