"""What an examination finds: one fault in a line, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """`error`: something does not work or breaks a promise. `warning`: it works, and is a risk."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """`code` is a promise to scripts. No text holds a secret: URLs are shown without user and password."""

    code: str
    severity: Severity
    subject: str
    message: str
    mend: str


def error(code: str, subject: str, message: str, mend: str) -> Finding:
    return Finding(code, Severity.ERROR, subject, message, mend)


def warning(code: str, subject: str, message: str, mend: str) -> Finding:
    return Finding(code, Severity.WARNING, subject, message, mend)
