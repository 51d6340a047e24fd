"""The recorded messages of the last release, as its processes left them, or as if it had been recorded just now."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bson import json_util
from motor.motor_asyncio import AsyncIOMotorDatabase
from redis.asyncio import Redis

from tests.contracts.normal import now_again
from tests.system.upgrade.release import FIRST

HERE: Final = Path(__file__).parent
LAST: Final = "v0_1_0"
LAST_COMMIT: Final = FIRST


class Recording:
    """`fresh`: its times have the distance from now that they had from the recording's end."""

    def __init__(self, directory: Path = HERE / LAST, *, fresh: bool = False) -> None:
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
        rows = json_util.loads(self._text("documents.json"))
        found = dict[str, list[dict[str, Any]]]()
        for row in rows:
            found.setdefault(row["collection"], []).append(row["document"])
        return found

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is read and what is written, by the models' names."""
        told = json.loads(self._text("schemas.json"))
        return told["read"], {**told["read"], **told["written"]}


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
