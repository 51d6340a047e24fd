"""Workspaces as operators see them."""

from typing import Literal

from pydantic import Field

from shared.contracts.schema import NAME_PATTERN, Schema, Time

WorkspaceStatus = Literal["active", "deleting", "deleted"]


class NewWorkspace(Schema):
    name: str = Field(pattern=f"^{NAME_PATTERN}$")


class ChangeWorkspace(Schema):
    """`transcript_days`: see the agents' `retention`; of the two the shorter one counts. None: no limit."""

    transcript_days: int | None = Field(default=None, ge=1, le=36_500)


class Receipt(Schema):
    """What a deletion has erased: the number of documents by collection.

    A deletion that was interrupted may have erased up to a page of documents more than it counted.
    """

    requested_at: Time
    completed_at: Time
    erased: dict[str, int]


class Workspace(Schema):
    """A deleted workspace's name stays taken: nothing that comes late can reach another tenant."""

    name: str
    status: WorkspaceStatus
    created_at: Time
    transcript_days: int | None = None
    receipt: Receipt | None = None
