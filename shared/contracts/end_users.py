"""End users: the erasure of all that is held of one. Their ids are their workspace's, and mean nothing here."""

from typing import Final, Literal

from pydantic import Field

from shared.contracts.schema import NAME_PATTERN, Schema, Time

MAX_END_USER: Final = 200


class EraseEndUser(Schema):
    """`actor` is the calling key's id. While an end user is being erased, any order is that erasure."""

    id: str = Field(pattern=f"^{NAME_PATTERN}$")
    end_user: str = Field(min_length=1, max_length=MAX_END_USER)
    actor: str | None = None


class EndUserErasure(Schema):
    """An erasure, and its receipt once `status` is `erased`.

    It does not say whom it erased: that would be held of them too.
    """

    id: str
    status: Literal["erasing", "erased"]
    requested_at: Time
    completed_at: Time | None = None
    erased: dict[str, int] = Field(
        default_factory=dict, description="how many sessions, turns and completions; grows while the erasure runs"
    )
