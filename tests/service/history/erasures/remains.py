"""What the stores still hold of somebody: a search through every document and every key for a text."""

from typing import Any

from redis.asyncio import Redis

from tests.service.history.running import History


async def remains(history: History, text: str) -> list[str]:
    """Where the text stands, in MongoDB (blobs included) and in Redis."""
    found = list[str]()
    for name in await history.documents.list_collection_names():
        rows = await history.documents[name].find({}).to_list(None)
        found += [f"{name} {row['_id']}" for row in rows if text in repr(row)]
    return found + await remains_in_redis(history.queue, text)


async def remains_in_redis(redis: Redis, text: str) -> list[str]:
    return [repr(key) async for key in redis.scan_iter() if text in repr(key) + repr(await _value(redis, key))]


async def _value(redis: Any, key: bytes) -> Any:
    match (await redis.type(key)).decode():
        case "string":
            return await redis.get(key)
        case "hash":
            return await redis.hgetall(key)
        case "list":
            return await redis.lrange(key, 0, -1)
        case "zset":
            return await redis.zrange(key, 0, -1)
        case "set":
            return await redis.smembers(key)
        case "stream":
            return await redis.xrange(key)
    return None
