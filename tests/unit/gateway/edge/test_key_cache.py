import asyncio

import pytest

from services.gateway.edge.key_cache import KeyCache
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal


class History:
    """Counts what it is asked. Knows the digests that begin with `good`."""

    def __init__(self) -> None:
        self.asked = list[str]()

    async def resolve(self, digest: str) -> Principal:
        self.asked.append(digest)
        await asyncio.sleep(0)
        if not digest.startswith("good"):
            raise ApiError(Code.INVALID_API_KEY)
        return Principal(key_id=digest, workspace="w", scopes=frozenset())


@pytest.fixture
def history() -> History:
    return History()


async def refused(cache: KeyCache, digest: str) -> None:
    with pytest.raises(ApiError) as raised:
        await cache.principal(digest)
    assert raised.value.code is Code.INVALID_API_KEY


async def test_the_oldest_good_key_is_forgotten_first(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60, size=2)
    for digest in ("good a", "good b", "good c", "good c", "good b", "good a"):
        await cache.principal(digest)
    assert history.asked == ["good a", "good b", "good c", "good a"]


async def test_unknown_keys_cannot_evict_good_ones(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60, size=2, unknown=2)
    await cache.principal("good a")
    for number in range(10):
        await refused(cache, f"bad {number}")
    await cache.principal("good a")
    assert history.asked.count("good a") == 1
    assert cache.was_good("good a")


async def test_an_unknown_key_is_looked_up_once_while_it_is_remembered(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    for _ in range(5):
        await refused(cache, "bad")
    assert history.asked == ["bad"]
    assert not cache.was_good("bad")


async def test_an_unknown_key_is_remembered_for_longer_than_a_good_one(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=0.000_001)
    for _ in range(3):
        await refused(cache, "bad")
    assert history.asked == ["bad"]


async def test_every_notice_makes_the_cache_ask_again_for_unknown_keys(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    await refused(cache, "bad")
    cache.deliver(b"w:new")
    await refused(cache, "bad")
    cache.lose()
    await refused(cache, "bad")
    assert history.asked == ["bad"] * 3


async def test_a_refusal_that_a_notice_overtook_is_not_remembered(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    lookup = asyncio.create_task(refused(cache, "bad"))
    while not history.asked:
        await asyncio.sleep(0)
    cache.deliver(b"w:bad")
    await lookup
    await refused(cache, "bad")
    assert history.asked == ["bad", "bad"]


async def test_concurrent_requests_of_one_key_ask_once(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    await asyncio.gather(*(cache.principal("good a") for _ in range(20)))
    assert history.asked == ["good a"]


async def test_a_notice_makes_the_cache_ask_again_for_that_key_only(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    for digest in ("good a", "good b"):
        await cache.principal(digest)
    for notice in (b"other:good a", b"w:good c", b"", b"\xff"):
        cache.deliver(notice)
    for digest in ("good a", "good b"):
        await cache.principal(digest)
    assert history.asked == ["good a", "good b"]
    cache.deliver(b"w:good a")
    assert cache.was_good("good a")
    for digest in ("good a", "good b"):
        await cache.principal(digest)
    assert history.asked == ["good a", "good b", "good a"]


async def test_a_notice_of_a_workspace_makes_the_cache_ask_again_for_all_its_keys(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    for _ in range(2):
        for digest in ("good a", "good b"):
            await cache.principal(digest)
        cache.deliver(b"w:")
    assert history.asked == ["good a", "good b"] * 2


async def test_an_answer_that_a_notice_overtook_is_not_remembered(history: History) -> None:
    cache = KeyCache(history.resolve, ttl_s=60)
    lookup = asyncio.create_task(cache.principal("good a"))
    while not history.asked:
        await asyncio.sleep(0)
    cache.deliver(b"w:good a")
    await lookup
    await cache.principal("good a")
    assert history.asked == ["good a", "good a"]
