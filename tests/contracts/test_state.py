"""Data that earlier releases left behind, under the history of this one: it is read as before, and work goes on."""

from collections.abc import AsyncIterator
from typing import Any, Final, cast

import aiohttp
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from redis.asyncio import Redis

from services.history.mongo.indexes import INDEXES
from services.history.mongo.migrations import STEPS, VERSION
from shared.contracts.budgets import Subject
from shared.contracts.turns import ClaimTurn, StartAttempt
from shared.ids import new_id
from shared.secrets import SecretBox
from shared.tool_secrets import secrets_of
from shared.turn_queue.queue import decode_job
from tests.conftest import eventually
from tests.contracts.recording import HERE, RELEASES, Recording, restore_documents, restore_redis
from tests.contracts.replies import answered_otherwise
from tests.contracts.rig import SEALING_KEY
from tests.service.history.running import TOKEN, History, finished, order, running, settings_for

WORKSPACE: Final = "acme"
# GridFS has a form of its own.
UNVERSIONED: Final = frozenset({"blobs.chunks", "blobs.files"})


@pytest.fixture(scope="module", params=RELEASES)
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(HERE / request.param, fresh=True)


@pytest.fixture
async def history(mongodb_uri: str, redis_url: str, recording: Recording) -> AsyncIterator[History]:
    settings = settings_for(mongodb_uri, redis_url, secrets_keys=SEALING_KEY, log_keep_s=3600)
    documents: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongodb_uri, tz_aware=True)
    await restore_documents(recording, documents[settings.mongodb_database])
    documents.close()
    async with Redis.from_url(redis_url) as redis:
        await restore_redis(recording, redis)
    async with running(settings) as started:
        await eventually(lambda: _is_ready(started), within_s=20.0, what="a ready history")
        yield started


async def _is_ready(history: History) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{history.base_url}/readyz") as answer:
        return answer.status == 200


async def test_documents_of_earlier_releases_are_served_and_their_turns_go_on(
    history: History, recording: Recording
) -> None:
    """One test, because the stand-in needs seconds for a database."""
    reads = recording.rows("reads.json")
    assert len(reads) > 20
    assert not await answered_otherwise(history.base_url, TOKEN, reads)
    await _keys_authenticate(history, recording)
    await _secrets_open(history, recording)
    await _the_outbox_is_emptied(history, recording)
    await _a_waiting_turn_runs(history, recording)
    await _what_v0_2_0_brought_is_served(history, recording)
    await _sessions_go_on(history, recording)


async def _keys_authenticate(history: History, recording: Recording) -> None:
    keys = recording.documents()["keys"]
    working = [key for key in keys if key.get("revokedAt") is None]
    assert working
    for key in working:
        principal = await history.client.resolve_key(key["digest"])
        assert (principal.key_id, principal.workspace) == (key["_id"], key["workspace"])
        assert principal.scopes == set(key["scopes"])


async def _secrets_open(history: History, recording: Recording) -> None:
    versions = [row for row in recording.documents()["agent_versions"] if "sealed" in str(row)]
    assert versions
    box = SecretBox([SEALING_KEY])
    for row in versions:
        _, agent_id, number = row["_id"].split(":")
        version = await history.client.agent_version(WORKSPACE, agent_id, int(number))
        secrets = [secret for tool in version.config.tools for secret in secrets_of(tool).values()]
        assert [box.open(WORKSPACE, secret) for secret in secrets] == ["Bearer recorded"]


async def _the_outbox_is_emptied(history: History, recording: Recording) -> None:
    turn_id = recording.turns["finished"]

    async def is_stored() -> bool:
        return (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed"

    await eventually(is_stored, what="the result that waited in the outbox")
    assert (await history.client.turn(WORKSPACE, turn_id)).output[0].content


async def _a_waiting_turn_runs(history: History, recording: Recording) -> None:
    """Claimed by this release's worker, under the attempts that the last one has counted."""
    for name, attempt in (("waiting", 1), ("claimed", 1)):
        turn_id = recording.turns[name]
        payload = await history.queue.get(f"arq:job:{turn_id}")
        job = decode_job(cast("bytes", payload))
        lease = await history.lease(turn_id)
        assert (job.workspace, job.turn_id) == (WORKSPACE, turn_id)
        claimed = await history.client.claim(WORKSPACE, turn_id, ClaimTurn(claim_id=lease.claim_id))
        assert (claimed.run, claimed.attempt) == (True, attempt), name
        assert [message.content for message in claimed.input] == [name]
        start = StartAttempt(claim_id=lease.claim_id, session_id=claimed.session_id, attempt=claimed.attempt)
        assert (await history.client.start_attempt(WORKSPACE, turn_id, start)).started
        assert await lease.finish(finished(turn_id, attempt, workspace=WORKSPACE))

        async def is_stored(turn_id: str = turn_id) -> bool:
            return (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed"

        await eventually(is_stored, what=f"the end of the {name} turn")


async def _sessions_go_on(history: History, recording: Recording) -> None:
    """One of a straight conversation, and one whose first question was asked again in other words."""
    longer = [row for row in recording.documents()["sessions"] if row["turnCount"] == 2]
    said = {tuple(await _said_before(history, row["_id"])) for row in longer}
    assert said == {("Hello?", "And now?")} | ({("Which of them?",)} if recording.name != "v0_1_0" else set())


async def _said_before(history: History, session_id: str) -> list[str | None]:
    admitted = await history.client.admit(WORKSPACE, order(session_id, "Still there?", turn_id=new_id("trn")))
    assert admitted.created
    claimed = await history.claim(admitted.turn.id)
    assert claimed.claimed.agent is not None
    return [message.content for message in claimed.claimed.context if message.role == "user"]


async def _what_v0_2_0_brought_is_served(history: History, recording: Recording) -> None:
    """Where it was recorded: what changes with the day, or by itself, is no part of the recorded reads."""
    documents = recording.documents()
    for row in documents.get("budgets", ()):
        budget = await history.client.budget(WORKSPACE, Subject(row["kind"], row["subjectId"]))
        assert budget.month is not None
        assert budget.month.tokens == row["month"]["tokens"]
    for row in documents.get("webhooks", ()):
        page = await history.client.deliveries(WORKSPACE, row["_id"], {})
        assert len(page["items"]) == len(documents["webhook_deliveries"])
        assert not (await history.client.webhook(WORKSPACE, row["_id"])).enabled
    for row in documents.get("end_user_erasures", ()):
        erasure = await history.client.end_user_erasure(WORKSPACE, row["_id"])
        assert erasure.erased.items() >= row["erased"].items()


def test_every_collection_has_a_schema_version(recording: Recording) -> None:
    documents = recording.documents()
    for name in {*documents, *INDEXES} - UNVERSIONED:
        assert name in STEPS, f"{name} has no schema version: add it to STEPS"
        assert all(document.get(VERSION, 0) <= len(STEPS[name]) for document in documents.get(name, ()))
