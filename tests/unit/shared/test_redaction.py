"""Redaction: what is recognised, and what only looks like it."""

import pytest

from shared.contracts.redaction import Redaction, RedactionPattern
from shared.redaction import redacted

ALL = Redaction(kinds=("email", "phone", "iban", "card"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Write to jane.doe+x@shop.example.com, please.", "Write to [email], please."),
        ("müller@bücher.example", "[email]"),
        ("Pay with 4111 1111 1111 1111 123 now", "Pay with [card] 123 now"),
        ("5500-0000-0000-0004", "[card]"),
        ("378282246310005", "[card]"),
        ("DE89 3704 0044 0532 0130 00 THANK YOU", "[iban] THANK YOU"),
        ("gb82west12345698765432", "[iban]"),
        ("Call +49 (0)30 1234567!", "Call [phone]!"),
        ("0170/1234567 or 0044 20 7946 0958", "[phone] or [phone]"),
        ("(555) 123-4567 or 555-123-4567", "[phone] or [phone]"),
    ],
)
def test_data_of_people_is_replaced(text: str, wanted: str) -> None:
    assert redacted(text, ALL) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "Order 4111 1111 1111 1112 of 27.11.2026",  # Its check digit is wrong.
        "DE88 3704 0044 0532 0130 00",
        "On 01.02.2024 at 09:30, or 2026-11-27",
        "The price is 1,299.00 EUR for 12 pieces",
        "me@home",
        "Flight LH 454, gate B12, seat 23A",
        "",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    kept = Redaction(kinds=("email", "iban", "card")) if text.startswith(("Order", "DE88")) else ALL
    assert redacted(text, kept) == text


def test_only_what_the_agent_names_is_replaced() -> None:
    text = "jane@shop.example, customer K-123"
    assert redacted(text, Redaction()) == text
    own = Redaction(patterns=(RedactionPattern(name="customer", pattern=r"K-\d+"),))
    assert redacted(text, own) == "jane@shop.example, customer [customer]"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 200_000, "0 " * 100_000, "AA00" * 50_000, "1" * 200_000, "a@" * 100_000])
def test_hostile_texts_come_back(text: str) -> None:
    """A pattern that tries every way to match would need hours."""
    assert redacted(text, ALL)
