"""Documents as lines: nothing is lost, whatever their members are called."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson.binary import Binary
from bson.int64 import Int64

from services.history.mongo.document_lines import document_of, line_of

NOW = datetime(2026, 11, 27, 18, 0, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "document",
    [
        {"_id": "trn_1", "n": 1, "big": 1 << 40, "real": 1.0, "yes": True, "none": None, "list": [1, "a", [NOW]]},
        {"_id": "ses_1", "createdAt": NOW, "deep": {"at": [NOW, {"n": Int64(5)}]}},
        {"_id": "vec_1", "vector": Binary(b"\x27\x00\x01", 9), "raw": b"\x00\xff"},
        {"_id": "agt_1", "schema": {"$ref": "#/a", "$id": "b"}, "$date": "a name that a stranger chose"},
        {"_id": "agt_2", "schema": {"$date": 5}, "other": {"$int64": "x"}, "third": {"$binary": []}},
        {"_id": "agt_6", "schema": {"$date": 10**18}, "other": {"$date": -1e300}, "third": {"$date": 10**16}},
        {"_id": "agt_3", "price": float("inf")},
        {"_id": "agt_4", "text": "line\nfeed \u2028 \U0001f600", "": {"": ""}},
        {"_id": "agt_5", "before": datetime(1900, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda document: document["_id"],
)
def test_a_document_comes_back_as_it_was(document: dict[str, Any]) -> None:
    line = line_of(document)
    found = document_of(line)
    assert line.count(b"\n") == 1
    assert found == document
    assert list(found) == list(document)
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in document.items()
    }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"$bson":"AAAA"}',
        b'{"$bson":7}',
        b'{"a":{"$date":"x"}}',
        b'{"a":{"$date":1000000000000000000}}',
    ],
)
def test_what_is_no_document_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        document_of(line)
