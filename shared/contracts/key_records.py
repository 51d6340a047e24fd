"""Keys as they are listed and changed. Nothing here holds a secret: history knows digests only."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from shared.contracts.keys import DIGEST_PATTERN, MAX_LABEL, MAX_WEIGHT, Environment, Scope, known_scopes
from shared.contracts.schema import Schema, Time

MAX_GRACE_S: Final = 30 * 86_400
MAX_ORIGINS: Final = 50
MAX_RPM: Final = 1_000_000
MAX_TURNS: Final = 10_000
MAX_DAILY_TOKENS: Final = 1_000_000_000_000

Origins = Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_ORIGINS)]
Rpm = Annotated[int, Field(ge=1, le=MAX_RPM)]
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]
Turns = Annotated[int, Field(ge=1, le=MAX_TURNS)]
DailyTokens = Annotated[int, Field(ge=1, le=MAX_DAILY_TOKENS)]

WEIGHT_MEANS: Final = "when turns wait, keys are served in turn, and this key gets so many turns each time"


class _Key(Schema):
    id: str
    label: str
    weight: int = Field(default=1, description=WEIGHT_MEANS)
    environment: Environment
    created_at: Time
    created_by: str | None = Field(default=None, description="the id of the key that made it; null: an operator")
    expires_at: Time | None = None
    last_used_at: Time | None = Field(default=None, description="written at most once a minute")
    old_secret_until: Time | None = Field(default=None, description="the secret before the rotation works until then")
    rate_limit_rpm: int | None = Field(default=None, description="requests per minute; null: the gateway's own limit")
    max_concurrent_turns: int | None = Field(
        default=None, description="turns that run or wait at once; null: the gateway's own limit"
    )


class KeyRecord(_Key):
    """A secret key."""

    scopes: Annotated[tuple[Scope, ...], BeforeValidator(known_scopes)]
    retry_guard: bool = False


class PublishableKeyRecord(_Key):
    """A key for browsers: it opens the widget's routes of one agent, for pages of these origins."""

    agent_id: str
    allowed_origins: tuple[str, ...]
    daily_tokens: int | None = Field(default=None, description="the budget of a day (UTC); null: none")


class RotateKey(Schema):
    """The new secret's digest, and how long the old secret works on. A repeat rotates once.

    `agent_id`: the publishable key's agent.
    """

    digest: str = Field(pattern=DIGEST_PATTERN)
    grace_s: int = Field(default=0, ge=0, le=MAX_GRACE_S)
    agent_id: str | None = None
    actor: str | None = None


class ChangeKey(Schema):
    """Only the members that are set are changed; None clears a limit and the end of a key's life.

    `agent_id`: the publishable key's agent. Origins and the daily budget are for publishable keys only, the retry guard
    for secret ones. A change of a key's scopes does not exist: a key never gets more than it was made with.
    """

    agent_id: str | None = None
    label: str | None = Field(default=None, max_length=MAX_LABEL)
    allowed_origins: Origins | None = None
    weight: Weight | None = None
    rate_limit_rpm: Rpm | None = None
    max_concurrent_turns: Turns | None = None
    daily_tokens: DailyTokens | None = None
    retry_guard: bool | None = None
    expires_at: Time | None = None
    actor: str | None = None
