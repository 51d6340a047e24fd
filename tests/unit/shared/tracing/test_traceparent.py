import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tracing.traceparent import MAX_LENGTH, trace_id_of, valid

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_header_of_version_00_is_kept(flags: str) -> None:
    assert valid(f"00-{TRACE}-{SPAN}-{flags}") == f"00-{TRACE}-{SPAN}-{flags}"


def test_flags_that_are_not_known_are_cleared() -> None:
    assert valid(f"00-{TRACE}-{SPAN}-ff") == f"00-{TRACE}-{SPAN}-01"


def test_of_a_later_version_only_what_is_known_is_read() -> None:
    assert valid(f"cc-{TRACE}-{SPAN}-01-more") == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01-{'a' * 10_000}",
        "0" * 10_000,
    ],
)
def test_any_other_header_is_ignored(header: str) -> None:
    assert valid(header) == ""


@given(st.text(max_size=MAX_LENGTH + 10))
def test_what_is_valid_stays_valid(header: str) -> None:
    found = valid(header)
    assert valid(found) == found
    assert (trace_id_of(found) is None) is (found == "")


def test_the_trace_id_is_read_from_the_header() -> None:
    assert trace_id_of(f"00-{TRACE}-{SPAN}-01") == TRACE
    assert trace_id_of("") is None
