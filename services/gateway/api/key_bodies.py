"""The bodies of the routes of keys, and what they answer with."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field, ValidationInfo, field_validator

from shared.contracts.key_records import (
    MAX_GRACE_S,
    MAX_ORIGINS,
    WEIGHT_MEANS,
    DailyTokens,
    KeyRecord,
    PublishableKeyRecord,
    Rpm,
    Turns,
    Weight,
)
from shared.contracts.keys import MAX_LABEL, SECRET_SCOPES, Environment, Scope
from shared.contracts.origins import origin_of
from shared.contracts.schema import PublicRequest


def _in_the_future(moment: datetime) -> datetime:
    # An offset may take a later one beyond the last year that there is.
    if moment.year >= 9000:
        raise ValueError("must lie before the year 9000; without an end, leave it out")
    if moment <= datetime.now(UTC):
        raise ValueError("must lie in the future")
    return moment


def _for_servers(scopes: list[Scope]) -> list[Scope]:
    if set(scopes) - SECRET_SCOPES:
        raise ValueError("only a publishable key holds chat:public")
    return scopes


# JSON has neither times nor enumerations, so these two are parsed from text.
Expiry = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_the_future)]
GivenWeight = Annotated[Weight, Field(description=WEIGHT_MEANS)]
GivenScope = Annotated[Scope, Field(strict=False)]
Label = Annotated[str, Field(max_length=MAX_LABEL)]
GivenOrigins = Annotated[list[str], Field(min_length=1, max_length=MAX_ORIGINS)]


class CreateKey(PublicRequest):
    label: Label = ""
    scopes: Annotated[list[GivenScope], Field(min_length=1, max_length=len(Scope)), AfterValidator(_for_servers)]
    environment: Environment = "live"
    expires_at: Expiry | None = None
    weight: GivenWeight = 1
    rate_limit_rpm: Rpm | None = None
    max_concurrent_turns: Turns | None = None
    retry_guard: bool = Field(default=False, description="an OpenAI SDK's blind retry gets the turn that it repeats")


class ChangeSecretKey(PublicRequest):
    """Members that are left out stay as they are; null removes a limit, and the end of the key's life.

    A key's scopes cannot be changed.
    """

    label: Label = ""
    expires_at: Expiry | None = None
    weight: GivenWeight = 1
    rate_limit_rpm: Rpm | None = None
    max_concurrent_turns: Turns | None = None
    retry_guard: bool = Field(default=False, description="an OpenAI SDK's blind retry gets the turn that it repeats")


class RotateSecret(PublicRequest):
    grace_s: int = Field(default=0, ge=0, le=MAX_GRACE_S, description="how long the old secret works on, seconds")


class CreatePublishableKey(PublicRequest):
    label: Label = ""
    environment: Environment = "live"
    allowed_origins: GivenOrigins = Field(
        description="scheme, host and port of each site; `http://localhost:*` in keys of the environment test"
    )
    rate_limit_rpm: Rpm | None = None
    max_concurrent_turns: Turns | None = None
    daily_tokens: DailyTokens | None = None
    weight: GivenWeight = 1
    expires_at: Expiry | None = None

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: list[str], info: ValidationInfo) -> list[str]:
        return checked_origins(origins, test=info.data.get("environment") == "test")


class ChangePublishableKey(PublicRequest):
    """Members that are left out stay as they are; null removes a limit, and the end of the key's life."""

    label: Label = ""
    allowed_origins: GivenOrigins = Field(default_factory=list)
    rate_limit_rpm: Rpm | None = None
    max_concurrent_turns: Turns | None = None
    daily_tokens: DailyTokens | None = None
    weight: GivenWeight = 1
    expires_at: Expiry | None = None


class NewSecretKey(KeyRecord):
    """A key with its secret, which is shown this once."""

    secret: str = Field(repr=False)


class NewPublishableKey(PublishableKeyRecord):
    """A publishable key with its text, which is shown this once."""

    secret: str = Field(repr=False)


def checked_origins(origins: list[str], *, test: bool) -> list[str]:
    """In the form in which browsers send them, without repeats. Raises ValueError."""
    return list(dict.fromkeys(origin_of(origin, test=test) for origin in origins))


def shown(record: KeyRecord | PublishableKeyRecord, secret: str | None = None) -> dict[str, Any]:
    """All members, those without a value as null."""
    members = record.model_dump(mode="json", by_alias=True)
    return members | ({"secret": secret} if secret is not None else {})
