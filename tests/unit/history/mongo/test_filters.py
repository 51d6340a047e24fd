"""Filters: what a caller sent is compared as a value and never read as a query."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.history.mongo.dialect import Dialect
from services.history.mongo.filters import above, between, one_of
from services.history.mongo.indexes import INDEXES


@pytest.mark.parametrize("value", [{"$gt": ""}, {"$ne": None}, ["a"], {"$where": "1"}, object(), b"x"])
def test_only_scalars_are_compared(value: Any) -> None:
    with pytest.raises(TypeError):
        Dialect().query({"_id": value})


def test_operators_come_from_the_code_alone() -> None:
    now = datetime.now(UTC)
    where = {"a": "$gt", "b": above(1), "c": between(1, 2), "d": one_of(["x"]), "e": True, "f": now}
    assert Dialect().query(where) == {
        "a": {"$eq": "$gt"},
        "b": {"$gt": 1},
        "c": {"$gte": 1, "$lt": 2},
        "d": {"$in": ["x"]},
        "e": {"$eq": True},
        "f": {"$eq": now},
    }


def test_unique_indexes_over_workspaces_begin_with_the_workspace() -> None:
    for index in (*INDEXES["sessions"], *INDEXES["turns"]):
        if index.unique:
            assert index.keys[0] == "workspace"
