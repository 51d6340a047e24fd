"""Every test of this room runs on both drivers."""

from typing import Any

import pytest


@pytest.fixture(params=["motor", "pymongo"], autouse=True)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PARLEY_TEST_MONGODB_DRIVER", request.param)
    return request.param
