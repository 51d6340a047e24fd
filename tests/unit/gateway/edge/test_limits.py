import pytest

from services.gateway.edge.allowance import Allowance, openai_duration
from services.gateway.edge.buckets import TokenBuckets
from services.gateway.edge.limits import GatewayLimits
from services.gateway.edge.rates import RequestRates
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal

NOWHERE = "redis://127.0.0.1:9/0"


def limits(**more: int) -> GatewayLimits:
    given = {"requests_per_minute": 60, "streams_per_key": 2, "streams_limit": 3, **more}
    return GatewayLimits(RequestRates(NOWHERE), **given)


def test_a_key_that_used_up_its_minute_learns_when_to_come_back() -> None:
    buckets = TokenBuckets()
    allowances = [buckets.take("a", 60) for _ in range(61)]
    assert all(allowance.retry_s == 0 for allowance in allowances[:60])
    assert 0 < allowances[60].retry_s <= 1
    assert allowances[60].remaining == 0
    assert buckets.take("b", 60).retry_s == 0


async def test_a_key_without_a_limit_is_neither_counted_nor_told_of_one() -> None:
    unlimited = Principal(key_id="k", workspace="w", scopes=frozenset())
    assert await limits(requests_per_minute=0).request(unlimited) is None


def test_places_are_per_key_and_for_all_and_come_back() -> None:
    some = limits()
    with some.hold("a"), some.hold("a"):
        with pytest.raises(ApiError) as one, some.hold("a"):
            pass
        assert one.value.code is Code.RATE_LIMITED
        with some.hold("b"), pytest.raises(ApiError) as all_of_them, some.hold("c"):
            pass
        assert all_of_them.value.code is Code.OVERLOADED
        assert not some.idle.is_set()
    assert some.held == 0
    assert some.idle.is_set()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (0.2, "1s"), (59.5, "1m0s"), (360, "6m0s")])
def test_durations_are_spelled_as_openai_does(seconds: float, text: str) -> None:
    assert openai_duration(seconds) == text


def test_a_refusal_that_is_told_again_later_counts_the_time_since() -> None:
    assert Allowance(60, 0, 60.0, 1.0).later(0.25) == Allowance(60, 0, 59.25, 0.25)
