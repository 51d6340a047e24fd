"""The recorded messages of releases, as their processes left them, or as if they had been recorded just now."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bson import json_util
from motor.motor_asyncio import AsyncIOMotorDatabase
from redis.asyncio import Redis

from tests.contracts import schema_file
from tests.contracts.binaries import inflated
from tests.contracts.normal import now_again

HERE: Final = Path(__file__).parent
LAST: Final = "v0_2_0"
# v0.2.0 by its commit: a clone may have no tags.
LAST_COMMIT: Final = "ce219607c6bde743332997a92efff33d23a06b5e"
# Documents of these may be in a database too, because they are migrated when they are read.
EARLIER: Final = ("v0_1_0",)
RELEASES: Final = (*EARLIER, LAST)


class Recording:
    """What one release has recorded. `fresh`: its times have the distance from now that they had from its end."""

    def __init__(self, directory: Path = HERE / LAST, *, fresh: bool = False) -> None:
        self.name = directory.name
        self._directory = directory
        self._now = datetime.now(UTC) if fresh else None
        self.turns: dict[str, str] = json.loads(self._text("turns.json"))
        self.redis: list[dict[str, Any]] = self.rows("redis.json")

    def _text(self, name: str) -> str:
        text = (self._directory / name).read_text()
        return text if self._now is None else now_again(text, self._now)

    def rows(self, name: str) -> list[Any]:
        found: list[Any] = json.loads(self._text(name))
        return found

    def messages(self) -> dict[str, Any]:
        """Calls of history, what Redis holds, and what was published."""
        calls = [*self.rows("calls.json"), *self.rows("reads.json")]
        return {"calls": calls, "redis": self.redis, "published": self.rows("published.json")}

    def documents(self) -> dict[str, list[dict[str, Any]]]:
        """By their collections."""
        rows = json_util.loads(json.dumps(inflated(self.rows("documents.json"))))
        found = dict[str, list[dict[str, Any]]]()
        for row in rows:
            found.setdefault(row["collection"], []).append(row["document"])
        return found

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is read and what is written, by the names of models and of calls. Only the last release has them."""
        return schema_file.both(json.loads(self._text("schemas.json")))


async def restore_documents(recording: Recording, database: "AsyncIOMotorDatabase[dict[str, Any]]") -> None:
    for name, documents in recording.documents().items():
        await database.get_collection(name).insert_many(documents)


async def restore_redis(recording: Recording, redis: "Redis") -> None:
    for row in recording.redis:
        await _restore(redis, row["key"], row)


async def _restore(redis: Any, key: str, value: dict[str, Any]) -> None:
    if "string" in value:
        await redis.set(key, value["string"])
    if "hash" in value:
        await redis.hset(key, mapping=value["hash"])
    if "zset" in value:
        await redis.zadd(key, value["zset"])
    if "list" in value:
        await redis.rpush(key, *value["list"])
    for entry, fields in value.get("stream", ()):
        await redis.xadd(key, fields, id=entry)
