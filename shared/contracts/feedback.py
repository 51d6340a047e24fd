"""What people say of an answer: thumbs up or down, and why."""

from typing import Final, Literal

from pydantic import Field

from shared.contracts.schema import Schema, Time

MAX_COMMENT: Final = 1000

Rating = Literal["up", "down"]


class GiveFeedback(Schema):
    """An order to history. The last one about a turn counts."""

    message_id: str
    rating: Rating
    comment: str | None = Field(default=None, max_length=MAX_COMMENT)


class GivenFeedback(Schema):
    """As it is stored with its turn."""

    message_id: str
    rating: Rating
    comment: str | None = None
    given_at: Time


class Feedback(GivenFeedback):
    """About the answer of one turn."""

    turn_id: str
    session_id: str
    agent_id: str
    agent_version: int
