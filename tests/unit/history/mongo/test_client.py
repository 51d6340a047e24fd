"""Filters: what a caller sent is compared as a value and never read as a query."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.history.mongo.client import INDEXES, _query, above, between, one_of


@pytest.mark.parametrize("value", [{"$gt": ""}, {"$ne": None}, ["a"], {"$where": "1"}, object(), b"x"])
def test_only_scalars_are_compared(value: Any) -> None:
    with pytest.raises(TypeError):
        _query({"_id": value})


def test_operators_come_from_the_code_alone() -> None:
    now = datetime.now(UTC)
    where = {"a": "$gt", "b": above(1), "c": between(1, 2), "d": one_of(["x"]), "e": True, "f": now}
    assert _query(where) == {
        "a": "$gt",
        "b": {"$gt": 1},
        "c": {"$gte": 1, "$lt": 2},
        "d": {"$in": ["x"]},
        "e": True,
        "f": now,
    }


def test_unique_indexes_over_workspaces_begin_with_the_workspace() -> None:
    for index in (index.document for name in ("sessions", "turns") for index in INDEXES[name]):
        if index.get("unique"):
            assert next(iter(index["key"])) == "workspace"
