"""Both releases as they are: the last one reads what this one writes, and this one goes on where it stopped."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from deploy.local.stack import DATABASE
from shared.history_client import HistoryClient
from shared.known_variables import PREFIX
from tests.conftest import eventually
from tests.contracts.calls import CALLS
from tests.contracts.record import recorded, scopes_of
from tests.contracts.recording import HERE, LAST_COMMIT, Recording, restore_documents, restore_redis
from tests.contracts.replies import answered_otherwise
from tests.contracts.rig import Rig
from tests.contracts.scenes import WORKSPACE
from tests.system.upgrade.release import Release


def read_by(release: Release, messages: dict[str, Any]) -> list[str]:
    """What the decoders of that release cannot read."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    told = subprocess.run(
        [sys.executable, str(HERE / "reading.py")],
        input=json.dumps({**messages, "table": CALLS}),
        cwd=release.tree,
        env={**own, "PYTHONPATH": str(release.tree)},
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stdout.splitlines()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release.checked_out(LAST_COMMIT, tmp_path_factory.mktemp("last") / "release")


@pytest.fixture(scope="module")
def today(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """What the processes of the working tree say in the same scenes."""
    directory = tmp_path_factory.mktemp("today")
    # A key with a scope that the last release does not know is a new kind of data: OPERATING says what becomes of it.
    for name, text in asyncio.run(recorded(None, directory / "run", scopes_of(release))).items():
        (directory / name).write_text(text)
    return Recording(directory, fresh=True)


@pytest.mark.soak
def test_the_last_release_reads_what_it_has_recorded_and_tells_what_it_cannot_read(release: Release) -> None:
    assert read_by(release, Recording().messages()) == []
    broken = [{"key": "arq:job:trn_1", "string": '{"f":"run_turn","a":[],"k":{},"et":1,"t":null}'}]
    assert len(read_by(release, {"calls": [], "redis": broken, "published": []})) == 1


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_last_release_reads_what_the_processes_of_this_one_say(release: Release, today: Recording) -> None:
    messages = today.messages()
    assert len(messages["calls"]) > 50
    faults = read_by(release, messages)
    assert not faults, f"The last release cannot read what this one writes: {faults}"


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_the_last_release_serves_documents_and_finishes_work_of_this_one(
    release: Release, today: Recording, tmp_path: Path
) -> None:
    """As after a rollback."""
    await _taken_over(Rig(tmp_path, release), today, today.rows("reads.json"))


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_this_release_finishes_work_that_the_last_one_left(tmp_path: Path) -> None:
    await _taken_over(Rig(tmp_path, None), Recording(fresh=True), [])


async def _taken_over(successor: Rig, recording: Recording, reads: list[dict[str, Any]]) -> None:
    """One result is in the outbox, one turn's worker is gone, and one waits."""
    async with successor as rig:
        documents: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(rig.stack.mongodb_uri, tz_aware=True)
        await restore_documents(recording, documents[DATABASE])
        documents.close()
        await restore_redis(recording, rig.redis)
        await rig.start_services()
        (url,), token = rig.stack.history_urls, rig.stack.internal_token
        async with HistoryClient([url], token, timeout_s=15.0) as history:
            for name, turn_id in recording.turns.items():

                async def has_completed(turn_id: str = turn_id) -> bool:
                    return (await history.turn(WORKSPACE, turn_id)).turn.status == "completed"

                await eventually(has_completed, within_s=60.0, what=f"the {name} turn")
        assert not await answered_otherwise(url, token, reads, by_older=True)
