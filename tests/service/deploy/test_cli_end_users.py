"""`parley sessions rm` and `parley end-users`, run as programs against a gateway and a history."""

import asyncio
from pathlib import Path

import orjson

from shared.contracts.sessions import EndUser
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.deploy.test_cli_keys import parley, stage
from tests.service.gateway.edge.workspace_scene import OWN, Scene

__all__ = ["stage"]
WHO = "jane/doe@shop.example"


async def session_of(stage: Scene) -> str:
    agent = stage.own.ids["agentId"]
    made = await stage.history.client.create_session(OWN, new_id("ses"), agent, {}, False, EndUser(id=WHO))
    return made.id


async def test_sessions_are_erased_after_a_question(stage: Scene, tmp_path: Path) -> None:
    session = await session_of(stage)
    assert (await parley(stage, tmp_path, "sessions", "rm", session, stdin="n\n")).code != 0
    assert (await parley(stage, tmp_path, "sessions", "rm", "nonsense", "--yes")).code != 0
    done = await parley(stage, tmp_path, "sessions", "rm", session, "--yes")
    assert (done.code, done.out.strip()) == (0, f"{session} is erased")
    assert await stage.history.documents.sessions.find_one({"_id": session, "status": "active"}) is None


async def test_an_end_user_is_exported_and_erased(stage: Scene, tmp_path: Path) -> None:
    session = await session_of(stage)
    exported = await parley(stage, tmp_path, "end-users", "export", WHO)
    lines = [orjson.loads(line) for line in exported.out.splitlines()]
    assert [line["type"] for line in lines] == ["endUser", "session", "end"]
    assert lines[1]["session"]["id"] == session
    assert (await parley(stage, tmp_path, "end-users", "erase", WHO, stdin="joe\n")).code != 0
    erasing = asyncio.create_task(parley(stage, tmp_path, "end-users", "erase", WHO, stdin=WHO + "\n"))

    async def erased() -> bool:
        # The scene's history looks by itself only once a minute.
        await stage.history.dependencies.nouns.end_user_erasures.reconcile()
        return erasing.done()

    await eventually(erased, within_s=30.0, what="the receipt")
    done = await erasing
    assert done.code == 0
    assert "erased" in done.out
    erasure = done.err.split()[-1]
    shown = await parley(stage, tmp_path, "end-users", "receipt", erasure, "--json")
    assert orjson.loads(shown.out)["erased"] == {"sessions": 1}
