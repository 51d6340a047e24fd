"""Invalid keys: they cost no lookups beyond a limit per address, and never lock out a key that was good before."""

import aiohttp

from shared.contracts.keys import Scope, new_secret
from tests.service.gateway.fakes import Stage, stage

LOOPBACK = "127.0.0.0/8"


async def status(gateway: Stage, key: str, **headers: str) -> int:
    given = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with gateway.client.get(gateway.url("/models"), headers=given) as response:
        if response.status == 429:
            assert (await response.json())["code"] == "rate_limited"
            assert int(response.headers["Retry-After"]) >= 1
        return response.status


async def test_a_malformed_or_mistyped_key_costs_no_lookup(gateway: Stage) -> None:
    before = gateway.history.key_lookups
    good = new_secret("live")
    for key in ("nonsense", "parley_sk_live_short", good[:-1] + ("a" if good[-1] != "a" else "b")):
        assert await status(gateway, key) == 401
    assert gateway.history.key_lookups == before


async def test_an_address_with_too_many_invalid_keys_is_refused_without_lookups(redis_url: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=5) as gateway:
        assert [await status(gateway, new_secret("live")) for _ in range(5)] == [401] * 5
        before = gateway.history.key_lookups
        assert [await status(gateway, new_secret("live")) for _ in range(5)] == [429] * 5
        assert await status(gateway, "nonsense") == 429
        assert gateway.history.key_lookups == before


async def test_a_key_that_was_good_before_works_on_from_a_refused_address(redis_url: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=2) as gateway:
        assert await status(gateway, gateway.key) == 200
        assert [await status(gateway, new_secret("live")) for _ in range(3)] == [401, 401, 429]
        lookups = gateway.history.key_lookups
        while gateway.history.key_lookups == lookups:  # Until its record has to be looked up again.
            assert await status(gateway, gateway.key) == 200
        assert await status(gateway, gateway.history.key(Scope.CHAT_READ)) == 429


async def test_good_keys_count_as_no_failure(redis_url: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=2) as gateway:
        for _ in range(6):
            assert await status(gateway, gateway.history.key(Scope.CHAT_READ)) == 200


async def test_a_forwarded_address_counts_behind_a_trusted_proxy_only(redis_url: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=1, trusted_proxies=LOOPBACK) as gateway:
        told = [await status(gateway, new_secret("live"), X_Forwarded_For=f"198.51.100.{n}") for n in (1, 1, 2)]
        assert told == [401, 429, 401]
    async with stage(redis_url, failed_auth_per_minute=1) as gateway:
        told = [await status(gateway, new_secret("live"), X_Forwarded_For=f"198.51.100.{n}") for n in (1, 2)]
        assert told == [401, 429]


async def test_one_subscribers_ipv6_addresses_count_together(redis_url: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=1, trusted_proxies=LOOPBACK) as gateway:
        told = [
            await status(gateway, new_secret("live"), Forwarded=f'for="[2001:db8:{site}::{host}]"')
            for site, host in ((1, 1), (1, 2), (2, 1))
        ]
        assert told == [401, 429, 401]


async def test_a_missing_key_is_no_failed_guess(redis_url: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=1) as gateway, aiohttp.ClientSession() as client:
        for _ in range(3):
            async with client.get(gateway.url("/models")) as response:
                assert response.status == 401
