"""A database with something of everything, its backup, and databases to restore into."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from pymongo import AsyncMongoClient

from services.history.backups.backup import Backup
from services.history.backups.manifest import MANIFEST, Manifest, read_manifest
from services.history.backups.restore import Restore
from services.history.backups.stores import Stores, opened
from services.history.mongo.client import Database
from services.history.mongo.document_lines import line_of
from shared.contracts.keys import NewKey, Scope
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import WORKSPACE, History, driver_of_tests, running, settings_for

KEY = NewKey(workspace=WORKSPACE, name="of a test", scopes=frozenset({Scope.CHAT_WRITE}))


@dataclass(frozen=True, kw_only=True)
class Filled:
    """`running`: a turn that a worker was running when the backup was made. `secret`: of a key."""

    folder: Path
    manifest: Manifest
    name: str
    session: str
    ended: str
    running: str
    secret: str
    usage: list[dict[str, Any]]


async def filled(mongodb_uri: str, redis_url: str, folder: Path) -> Filled:
    settings = settings_for(mongodb_uri, redis_url)
    async with running(settings) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        await history.publish()
        knowledge = await Knowledge.of_new_agent(history)
        await knowledge.text("The garden is open from nine.")
        await knowledge.file("plan.md", b"# Plan\n" + b"The garden has a pond. " * 9000)
        session = await history.session()
        ended = await history.answer(session, "When?", "At nine.")
        other = await history.session()
        asked = (await history.admit(other, "Still there?")).turn.id
        await history.claim(asked)
        secret = (await history.client.create_key(KEY)).secret
        await eventually(lambda: is_billed(history, ended), what="the bill")
        usage = await history.documents.usage_days.find({}, {"billed": 0}).to_list(None)
    async with stores(mongodb_uri, settings.mongodb_database) as found:
        manifest = await Backup(found).write(folder)
    return Filled(
        folder=folder,
        manifest=manifest,
        name=settings.mongodb_database,
        session=session,
        ended=ended,
        running=asked,
        secret=secret,
        usage=usage,
    )


async def is_billed(history: History, turn_id: str) -> bool:
    return "billedAt" in await history.document(turn_id)


@asynccontextmanager
async def stores(mongodb_uri: str, name: str, *, restoring: bool = False) -> AsyncIterator[Stores]:
    database = Database(mongodb_uri, name, driver=driver_of_tests(), restoring=restoring)
    async with opened(database, database.blobs) as found:
        yield found


async def restored(mongodb_uri: str, folder: Path, name: str | None = None) -> str:
    """The name of the database."""
    name = name or f"test_{uuid4().hex}"
    async with stores(mongodb_uri, name, restoring=True) as found:
        await Restore(found).run(folder)
    return name


async def content(mongodb_uri: str, name: str) -> dict[str, list[Any]]:
    """All documents of a database but the marks of restores and the times of uploads, by collection and id."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongodb_uri, tz_aware=True)
    try:
        database = client[name]
        found = {}
        for collection in sorted(await database.list_collection_names()):
            if collection == "restores":
                continue
            rows = await database[collection].find({}).to_list(None)
            for row in rows:
                row.pop("uploadDate", None)
                if collection == "blobs.chunks":
                    row.pop("_id")
            found[collection] = sorted(
                rows, key=lambda row: (str(row.get("_id", row.get("files_id"))), row.get("n", 0))
            )
        return {collection: rows for collection, rows in found.items() if rows}
    finally:
        await client.close()


def packed(lines: list[bytes]) -> bytes:
    return gzip.compress(b"".join(lines), 3, mtime=0)


def signed(folder: Path, **members: Any) -> None:
    """Another manifest, with a digest that is right."""
    found = orjson.loads((folder / MANIFEST).read_bytes().split(b"\n")[0])
    line = orjson.dumps(found | members)
    (folder / MANIFEST).write_bytes(line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def made(mongodb_uri: str, redis_url: str, folder: Path) -> Filled:
    return asyncio.run(filled(mongodb_uri, redis_url, folder))


def rewritten(folder: Path, collection: str, documents: list[dict[str, Any]]) -> None:
    """The backup with other documents of one collection, and with digests that are right."""
    path = next(folder.glob(f"{collection}-*"))
    path.write_bytes(packed([line_of(document) for document in documents]))
    raw = path.read_bytes()
    manifest = read_manifest(folder).wire()
    for file in manifest["files"]:
        if file["name"] == path.name:
            file |= {"documents": len(documents), "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    counts = manifest["counts"] | {collection: len(documents)}
    signed(folder, files=manifest["files"], counts=counts)
