"""Redaction: what of people's data is taken out of texts before anything stores them or shows them to a model."""

from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.schema import Schema

RedactionKind = Literal["email", "phone", "iban", "card"]


class RedactionPattern(Schema):
    """`pattern` is a regular expression of RE2. What it matches becomes `[name]`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    pattern: str = Field(min_length=1, max_length=500)


class Redaction(Schema):
    """Of the messages that users and callers send, and of the results of HTTP and MCP tools.

    `kinds` are known forms: `[email]`, `[phone]`, `[iban]` (with its check digits), `[card]` (with its check digit).
    """

    kinds: tuple[RedactionKind, ...] = ()
    patterns: Annotated[tuple[RedactionPattern, ...], Field(max_length=20)] = ()
    hook: bool = Field(default=False, description="also by the server that the operator has named for it")

    @property
    def is_empty(self) -> bool:
        return not (self.kinds or self.patterns or self.hook)
