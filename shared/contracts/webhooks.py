"""Webhooks out: the events that a workspace's endpoints are told of, and what their deliveries look like."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator

from shared.contracts.schema import PublicRequest, Schema, Time

EventType = Literal[
    "session.created",
    "session.ended",
    "turn.completed",
    "turn.failed",
    "message.feedback",
    "knowledge.indexed",
    "knowledge.failed",
    "agent.published",
    "budget.exceeded",
]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
# What `POST /webhooks/{id}/test` sends. Nobody subscribes to it.
TEST_EVENT: Final = "webhook.test"
DeliveryState = Literal["pending", "delivered", "dead"]
MAX_URL: Final = 2_000
MAX_DESCRIPTION: Final = 200
# Of a workspace.
MAX_ENDPOINTS: Final = 20
MAX_GRACE_S: Final = 604_800


def _distinct(events: tuple[EventType, ...]) -> tuple[EventType, ...]:
    if len(set(events)) != len(events):
        raise ValueError("must not name an event twice")
    return events


def known_events(events: Any) -> Any:
    """Leaves out the events of a newer release, in whose endpoints an earlier one meets them after a rollback."""
    return [event for event in events if event in EVENT_TYPES] if isinstance(events, (list, tuple)) else events


class CreateWebhook(PublicRequest):
    url: str = Field(
        min_length=1, max_length=MAX_URL, description="https, or http to an address that the server allows"
    )
    events: tuple[EventType, ...] = Field(min_length=1, max_length=len(EVENT_TYPES), strict=False)
    description: str = Field(default="", max_length=MAX_DESCRIPTION)

    _no_event_twice = field_validator("events")(_distinct)


class PatchWebhook(PublicRequest):
    """What is left out stays, and nothing can be null. `enabled: true` also brings back an endpoint that was disabled
    for its failures.
    """

    url: str = Field(default_factory=str, min_length=1, max_length=MAX_URL)
    events: tuple[EventType, ...] = Field(
        default_factory=tuple, min_length=1, max_length=len(EVENT_TYPES), strict=False
    )
    description: str = Field(default_factory=str, max_length=MAX_DESCRIPTION)
    enabled: bool = Field(default_factory=bool)

    _no_event_twice = field_validator("events")(_distinct)


class RotateWebhookSecret(PublicRequest):
    grace_s: int = Field(
        default=86_400, ge=0, le=MAX_GRACE_S, description="how long deliveries are signed with the old secret too"
    )


class StoreWebhook(Schema):
    """A new endpoint as history stores it. The caller makes the id, so a repeated order stores one endpoint."""

    id: str
    url: str
    events: tuple[EventType, ...]
    description: str = ""
    actor: str | None = None


class ChangeWebhook(Schema):
    """Only members that were given count, also those that are null."""

    url: str | None = None
    events: tuple[EventType, ...] | None = None
    description: str | None = None
    enabled: bool | None = None
    actor: str | None = None


class RotateWebhook(Schema):
    grace_s: int
    actor: str | None = None


class Webhook(Schema):
    """An endpoint. `failing_since`: no delivery has succeeded from then on."""

    id: str
    url: str
    events: Annotated[tuple[EventType, ...], BeforeValidator(known_events)]
    description: str = ""
    enabled: bool
    disabled_reason: str | None = Field(default=None, description="why the server disabled it; absent otherwise")
    disabled_at: Time | None = None
    failing_since: Time | None = None
    created_at: Time


class NewWebhook(Webhook):
    """The only times that the secret is shown: when it is made, and when it is rotated."""

    secret: str = Field(description="`whsec_…`, for any library of Standard Webhooks")


class Delivery(Schema):
    """One event for one endpoint. The id is the event's, and `webhook-id` in each attempt: a receiver's key."""

    id: str
    type: str
    state: DeliveryState
    attempts: int
    created_at: Time
    last_attempt_at: Time | None = None
    next_attempt_at: Time | None = None
    status: int | None = Field(default=None, description="the HTTP status of the last answer")
    error: str | None = Field(default=None, description="why the last attempt failed")
    payload: dict[str, Any]


class Replayed(Schema):
    replayed: int = Field(description="how many deliveries are sent again")
    more: bool = Field(default=False, description="there are more dead letters: ask again")
