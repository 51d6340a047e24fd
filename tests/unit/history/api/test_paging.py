"""Cursors and limits of pages."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from services.history.api.paging import cursor_of, cursor_values, limit_of
from shared.contracts.errors import ApiError


def request(query: str) -> web.Request:
    return make_mocked_request("GET", f"/?{query}")


@given(st.text(st.characters(codec="utf-8"), max_size=50), st.integers(0, 2**31))
def test_a_cursor_comes_back_as_it_went(text: str, number: int) -> None:
    assert cursor_values(request(f"cursor={cursor_of([text, number])}"), str, int) == [text, number]


@given(st.text("abcdefghijABCDEFGHIJ0123456789-_=", max_size=60))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        cursor_values(request(f"cursor={text}"), str, int, str, int)


@pytest.mark.parametrize("values", [[1, "x"], ["x"], ["x", 1, 2], ["x", True], ["x", 1.0], "x1", {"x": 1}])
def test_a_cursor_of_other_types_is_refused(values: list[object]) -> None:
    with pytest.raises(ApiError):
        cursor_values(request(f"cursor={cursor_of(values)}"), str, int)


def test_limits_are_numbers_from_1_to_200() -> None:
    assert [limit_of(request(query)) for query in ("", "limit=1", "limit=200", "limit=007")] == [50, 1, 200, 7]
    for text in ("0", "201", "9999", "-1", "+1", "1.0", "", "1e2", "9999999"):
        with pytest.raises(ApiError):
            limit_of(request(f"limit={text}"))
