"""The two parents of every shape: one for what we write, one for what a stranger sends."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

# Names of workspaces, and every id that a path of the internal API accepts.
NAME_PATTERN = r"[A-Za-z0-9_-]{1,64}"


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as `2026-01-31T09:00:00.000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]


class Schema(BaseModel):
    """A frozen value, camelCase on the wire.

    Unknown members are ignored, so that processes of two releases understand each other.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )

    def wire(self) -> dict[str, Any]:
        """As it goes over the wire: JSON values only, members that are None left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class PublicRequest(Schema):
    """The body of a public request: unknown members and wrong types are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)
