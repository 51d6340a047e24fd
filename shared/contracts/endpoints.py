"""Other people's servers that an agent's author names: an address, headers, and secrets that are never shown again."""

import re
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from shared.contracts.schema import Schema

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")
_SIGNING_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}")


class Secret(Schema):
    """A value that goes to a server and never comes back: the author gives `value`, history stores `sealed`, the API
    shows neither.

    With neither of them it stands for the value that is stored under the same name.
    """

    value: str | None = Field(default=None, repr=False, max_length=8192)
    sealed: str | None = Field(default=None, repr=False)


class Endpoint(Schema):
    """`headers` are shown to whoever may read the agent, `secret_headers` are not."""

    url: str = Field(max_length=2048)
    headers: dict[str, str] = Field(default_factory=dict)
    secret_headers: dict[str, Secret] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _headers_can_be_sent(self) -> Self:
        values = [*self.headers.values(), *(secret.value or "" for secret in self.secret_headers.values())]
        if not all(_HEADER_NAME.fullmatch(name) for name in (*self.headers, *self.secret_headers)):
            raise ValueError("a header's name may hold letters, digits and hyphens")
        if not all(_HEADER_VALUE.fullmatch(value) for value in values):
            raise ValueError("a header's value must be one line of printable characters")
        return self

    @model_validator(mode="after")
    def _has_fixed_host(self) -> Self:
        """The model fills the path, the query and the body. It never chooses where a request goes."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must start with http:// or https:// and name a host")
        if "{" in parts.netloc or "}" in parts.netloc:
            raise ValueError("url must have a fixed host: variables may stand in its path and its query only")
        if "@" in parts.netloc:
            raise ValueError("url must not hold a user or a password: use secretHeaders")
        return self


def checked_signing_secret(secret: Secret | None) -> None:
    """Raises ValueError for a value that signs nothing as Standard Webhooks says."""
    value = secret.value if secret is not None else None
    if value is not None and not _SIGNING_SECRET.fullmatch(value):
        raise ValueError("signingSecret must be whsec_ followed by the base64 form of 24 to 64 random bytes")
