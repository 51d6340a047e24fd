"""Redaction of texts, as an agent asks for it. Pure but for its metric.

Everything runs in RE2, so its time is linear in the text's length.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from shared.contracts.redaction import Redaction, RedactionKind
from shared.metrics import REDACTIONS
from shared.patterns import substituted

Replace = Callable[[str], str]

_EMAIL: Final = r"[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}"
_IBAN: Final = r"(?i)\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b"
_CARD: Final = r"\b\d(?:[ \-]?\d){12,18}\b"
# International, national with its leading zero, and the form of North America.
_PHONE: Final = (
    r"(?:\+|\b00)[1-9](?:[ ()./\-]{0,2}\d){6,13}\b"
    r"|\b0\d(?:[ ()./\-]{0,2}\d){5,12}\b"
    r"|(?:\(\d{3}\) ?|\b\d{3}[ .\-])\d{3}[ .\-]\d{4}\b"
)
_PHONE_DIGITS: Final = range(6, 16)
_DATE: Final = re.compile(r"\d{1,4}[./\-]\d{1,2}[./\-]\d{1,4}")
_IBAN_CHARACTERS: Final = range(15, 35)
_CARD_DIGITS: Final = range(13, 20)


def redacted(text: str, redaction: Redaction) -> str:
    """The text with what `redaction` names replaced by the kind's or the pattern's name in brackets."""
    # The longer forms first: a part of a card's number may look like a telephone's.
    for kind in ("iban", "card", "email", "phone"):
        if kind in redaction.kinds:
            pattern, replace = _KINDS[kind]
            text = substituted(pattern, replace, text)
    for custom in redaction.patterns:
        text = substituted(custom.pattern, _counted("custom", f"[{custom.name}]"), text)
    return text


def _counted(kind: str, placeholder: str) -> Replace:
    def replace(_: str) -> str:
        REDACTIONS.labels(kind).inc()
        return placeholder

    return replace


def _checked(kind: str, is_valid: Callable[[str], bool]) -> Replace:
    """Replaces the longest beginning of the match that is valid. What follows a number may look like a part of it."""
    put = _counted(kind, f"[{kind}]")

    def replace(found: str) -> str:
        for end in _ends(found):
            if is_valid(found[:end]):
                return put(found) + found[end:]
        return found

    return replace


def _ends(found: str) -> Iterator[int]:
    """Where the match may end: at its end, and before each separator, the longest first."""
    yield len(found)
    yield from (at for at in range(len(found) - 1, 0, -1) if not found[at].isalnum())


def _is_iban(text: str) -> bool:
    """ISO 13616: the number modulo 97 is 1."""
    plain = text.replace(" ", "").upper()
    if len(plain) not in _IBAN_CHARACTERS or not plain.isascii():
        return False
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """ISO 7812: Luhn's check digit."""
    digits = [int(each) for each in text if each.isdecimal()]
    if len(digits) not in _CARD_DIGITS:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(text: str) -> bool:
    return sum(each.isdecimal() for each in text) in _PHONE_DIGITS and _DATE.match(text) is None


_KINDS: Final[dict[RedactionKind, tuple[str, Replace]]] = {
    "iban": (_IBAN, _checked("iban", _is_iban)),
    "card": (_CARD, _checked("card", _is_card)),
    "email": (_EMAIL, _counted("email", "[email]")),
    "phone": (_PHONE, _checked("phone", _is_phone)),
}
