"""What each operation asks of MongoDB, as it is sent."""

from collections.abc import AsyncIterator
from uuid import uuid4

from services.history.mongo.client import Database
from services.history.mongo.dialect import Dialect
from tests.service.history.mongo.recorder import Recorder
from tests.service.history.mongo.test_dialects import opened
from tests.service.history.running import WORKSPACE

# An address must not weaken what is promised.
WEAK = "w=1&journal=false&readConcernLevel=local&readPreference=secondary"
WRITES = {"insert", "update", "delete", "createIndexes"}
READS = {"find", "aggregate"}


def weak(uri: str) -> str:
    servers, _, options = uri.partition("?")
    named = {option.partition("=")[0] for option in WEAK.split("&")}
    kept = [option for option in options.split("&") if option.partition("=")[0] not in named]
    return f"{servers}?{'&'.join([*kept, WEAK])}"


async def content() -> AsyncIterator[bytes]:
    yield b"content"


async def every_operation(database: Database) -> None:
    sessions, where = database.sessions, {"workspace": WORKSPACE}
    await sessions.insert({"_id": "ses_1", "workspace": WORKSPACE})
    await sessions.insert_all([{"_id": "ses_2", "workspace": WORKSPACE}])
    await sessions.update({"_id": "ses_1"}, {"$set": {"status": "ended"}})
    await sessions.update_all(where, {"$set": {"status": "ended"}})
    await sessions.replace_all([{"_id": "ses_2", "workspace": WORKSPACE}])
    await sessions.one({"_id": "ses_1"})
    await sessions.many(where, limit=5)
    await sessions.count(where, 5)
    await sessions.delete({"_id": "ses_1"})
    await sessions.delete_all(where)
    await database.blobs.put(f"{WORKSPACE}:blob", content())
    assert [piece async for piece in database.blobs.read(f"{WORKSPACE}:blob")] == [b"content"]
    await database.blobs.delete(f"{WORKSPACE}:blob")


async def test_every_operation_states_its_concerns_whatever_the_address_says(mongodb_uri: str) -> None:
    recorder = Recorder()
    async with opened(weak(mongodb_uri), f"test_{uuid4().hex}", Dialect(), recorder) as database:
        await every_operation(database)
    assert {name for name, _ in recorder.commands} >= WRITES | READS
    for name, command in recorder.commands:
        if name in WRITES:
            assert command["writeConcern"] == {"w": "majority", "j": True}, command
        if name in READS:
            assert command["readConcern"]["level"] == "majority", command
        # A single server, connected to directly, is asked for its primary or else for itself.
        assert command.get("$readPreference", {}).get("mode") in (None, "primary", "primaryPreferred"), command
