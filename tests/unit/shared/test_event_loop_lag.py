import asyncio
import time

from prometheus_client import REGISTRY

from shared.event_loop_lag import measured_lag
from tests.conftest import eventually


def sample(part: str) -> float:
    return REGISTRY.get_sample_value(f"parley_event_loop_lag_seconds_{part}") or 0.0


async def test_a_blocked_event_loop_is_measured() -> None:
    lag_s, count = sample("sum"), sample("count")
    with measured_lag(0.01):
        # Blocks the event loop, which is what the metric shall show.
        asyncio.get_running_loop().call_soon(time.sleep, 0.2)
        await eventually(lambda: sample("count") > count)
    assert sample("sum") - lag_s >= 0.15
