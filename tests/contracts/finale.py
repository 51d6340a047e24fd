"""The state that an upgrade finds: one result in the outbox, one claimed turn and one that waits; and its dumps."""

import asyncio
import json
import signal
from typing import Any

from bson import json_util
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from deploy.local.stack import DATABASE
from shared.outbox import OUTBOX
from shared.turn_queue.keys import KEYS
from tests.conftest import eventually
from tests.contracts.rig import Rig
from tests.contracts.scenes import Scenes

WAITING, RUNNING = KEYS[0], KEYS[1]


async def leave_work(rig: Rig, scenes: Scenes) -> dict[str, str]:
    """The turns by what they are: `finished`, `claimed`, `waiting`. History and the worker are paused afterwards."""
    names = ("finished", "claimed", "waiting")
    sessions = [await scenes.session("slow") for _ in names]
    # Without a model the first turn cannot end before history is paused.
    rig.send("model", signal.SIGSTOP)
    turns = {name: await scenes.post(session, name) for name, session in zip(names, sessions, strict=True)}
    await scenes.started(sessions[0], turns["finished"])
    rig.send("history-1", signal.SIGSTOP)
    rig.send("model", signal.SIGCONT)

    async def has_finished() -> bool:
        claimed = await rig.redis.zscore(RUNNING, turns["claimed"])
        return claimed is not None and await rig.redis.xlen(OUTBOX) == 1

    await eventually(has_finished, within_s=30.0, what="a result in the outbox and the next turn's claim")
    rig.send("worker-1", signal.SIGSTOP)
    assert await rig.redis.zcard(WAITING) == 1
    return turns


async def documents(mongodb_uri: str) -> dict[str, list[Any]]:
    """All collections, as MongoDB's extended JSON."""
    found = dict[str, list[Any]]()
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri, tz_aware=True) as client:
        database = client[DATABASE]
        for name in sorted(await database.list_collection_names()):
            rows = await database[name].find({}).to_list(None)
            rows.sort(key=lambda row: str(row["_id"]))
            found[name] = [json.loads(json_util.dumps(row)) for row in rows]
    return {name: rows for name, rows in found.items() if rows}


async def redis_values(redis: "Redis") -> dict[str, Any]:
    """Every key's value by its type. Texts only: Parley stores nothing else there."""
    names = sorted([name async for name in redis.scan_iter(count=1000)])
    values = await asyncio.gather(*(_value(redis, name) for name in names))
    return dict(zip([name.decode() for name in names], values, strict=True))


async def _value(redis: Any, name: bytes) -> Any:
    kind = (await redis.type(name)).decode()
    match kind:
        case "string":
            return {"string": (await redis.get(name)).decode()}
        case "hash":
            return {"hash": _texts(await redis.hgetall(name))}
        case "zset":
            return {
                "zset": {member.decode(): score for member, score in await redis.zrange(name, 0, -1, withscores=True)}
            }
        case "list":
            return {"list": [each.decode() for each in await redis.lrange(name, 0, -1)]}
        case "set":
            return {"set": sorted(each.decode() for each in await redis.smembers(name))}
        case "stream":
            return {"stream": [[entry.decode(), _texts(fields)] for entry, fields in await redis.xrange(name)]}
    raise AssertionError(f"{name!r} is a {kind}")


def _texts(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}
