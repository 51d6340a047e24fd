"""A client's JSON: what parsers disagree about, and what a store cannot hold, is refused with a text."""

import pytest

from shared.contracts.errors import ApiError, Code
from shared.web.bodies import parse_public_json

BAD = [
    b'{"a": 1, "a": 2}',
    b'{"a": 1, "\\u0061": 2}',
    b'[{"x": {"a": 1, "b": 2, "a": 1}}]',
    b'{"": 1, "": 2}',
    b"9" * 30,
    b"-" + b"9" * 30,
    b"9" * 200_000,
    b"18446744073709551615",
    b"9223372036854775808",
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b'"\\ud800"',
    b'{"\\udfff": 1}',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf{}",
    '{"a": 1}'.encode("utf-16"),
    b'"\\u0000"',
    b'{"a\\u0000b": 1}',
    b'"a\nb"',
    b"[" * 66 + b"]" * 66,
    b"[" * 100_000,
    b'{"a":' * 70 + b"1" + b"}" * 70,
    b"{'a': 1}",
    b'{"a": 1,}',
    b"[1,]",
    b"01",
    b"0x10",
    b"+1",
    b".5",
    b"1.",
    b"// x\n{}",
    b"{} {}",
    b"",
    b" ",
    b"\x00",
    b"undefined",
    b"True",
]


@pytest.mark.parametrize("raw", BAD, ids=lambda raw: repr(raw[:24]))
def test_bad_json_is_refused_with_a_text(raw: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        parse_public_json(raw)
    assert refused.value.code is Code.INVALID_JSON
    assert refused.value.problem()["detail"]


def test_good_json_stays_what_it_is() -> None:
    raw = '{"a": {"a": [9223372036854775807, -9223372036854775808, 1.5e300, true, null, "\\u00e9 \U0001f355"]}, "b": 1}'
    assert parse_public_json(raw.encode()) == {
        "a": {"a": [2**63 - 1, -(2**63), 1.5e300, True, None, "é 🍕"]},
        "b": 1,
    }
