"""MongoDB's errors: what can never be stored, and what may succeed later."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from services.history.mongo.errors import Duplicate, Unstorable, translated
from shared.contracts.errors import ApiError, Code


@pytest.mark.parametrize("code", [2, 9, 14, 15, 28, 52, 56, 57, 121, 10334, 17419, 17420])
@pytest.mark.parametrize("kind", [OperationFailure, WriteError])
def test_a_document_that_is_refused_for_what_it_is_is_unstorable(code: int, kind: type[OperationFailure]) -> None:
    assert isinstance(translated(kind("refused", code)), Unstorable)


@pytest.mark.parametrize(
    "error",
    [DuplicateKeyError("E11000", 11000), BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 11000}]})],
)
def test_a_unique_index_that_refuses_is_a_duplicate(error: PyMongoError) -> None:
    assert isinstance(translated(error), Duplicate)


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("lost"),
        NetworkTimeout("late"),
        NotPrimaryError("stepped down"),
        OperationFailure("no code"),
        OperationFailure("disk full", 14031),
        OperationFailure("interrupted", 11602),
        OperationFailure("write concern", 64),
    ],
)
def test_everything_else_may_succeed_later(error: PyMongoError) -> None:
    translation = translated(error)
    assert isinstance(translation, ApiError)
    assert translation.code is Code.DEPENDENCY_UNAVAILABLE
