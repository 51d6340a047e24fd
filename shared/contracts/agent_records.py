"""Agents as they are kept and shown: the draft, its revision, the published pointer, and the list of versions."""

import re
from typing import Any, Final, Literal

from pydantic import Field

from shared.contracts.schema import Schema, Time

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
VersionState = Literal["preparing", "published", "failed"]


class AgentRecord(Schema):
    """An agent with its draft. `revision` counts the draft's changes: it is the entity tag that `If-Match` compares.

    `published_version` is where new sessions go, `latest_version` the highest number that was given out. `draft` is the
    configuration (an AgentConfig's members), None in lists.
    """

    id: str
    slug: str
    name: str
    revision: int
    published_version: int | None = None
    latest_version: int = 0
    draft: dict[str, Any] | None = None
    created_at: Time
    updated_at: Time


class VersionRecord(Schema):
    """One version. `state` `preparing`: what it waits for is not ready, and the published pointer has not moved to it
    yet.

    `reason` says why a version failed. `config` is None in lists.
    """

    number: int
    state: VersionState
    note: str = ""
    passage_count: int = 0
    created_by: str | None = Field(default=None, description="the id of the key that published it")
    created_at: Time
    published_at: Time | None = None
    reason: str | None = None
    check_run: str | None = Field(default=None, description="the run of checks that it had to pass")
    index: Literal["built", "first_use"] | None = Field(
        default=None,
        description="the search index of its knowledge: built before publishing, or by the first question",
    )
    config: dict[str, Any] | None = None


class Change(Schema):
    """One difference between two versions. A member that is absent on one side is null there."""

    field: str
    before: Any = None
    after: Any = None


class NewAgent(Schema):
    """An order to create an agent. `actor` is the calling key's id.

    A repeat with the same id, or with the same `key` (the caller's idempotency key), creates nothing.
    """

    id: str
    key: str | None = None
    slug: str | None = None
    draft: dict[str, Any]
    actor: str | None = None


class DraftPatch(Schema):
    """A JSON merge patch (RFC 7396) of the draft; `slug` beside it.

    `revision`: the one that the editor saw, None for any.
    """

    patch: dict[str, Any] = Field(default_factory=dict)
    slug: str | None = None
    revision: int | None = None
    actor: str | None = None


class PublishOrder(Schema):
    """`key` makes a repeat the same publishing; without one, a draft that equals the latest version is that version."""

    note: str = Field(default="", max_length=2000)
    require_checks: bool = False
    key: str | None = None
    actor: str | None = None


class RollbackOrder(Schema):
    version: int = Field(ge=1)
    actor: str | None = None


class AuditRecord(Schema):
    """Who did what to which thing, never with content. `action` is like `agent.published`.

    `actor` is the id of a key; operators and the server itself have none. `request_id` is the answer's `x-request-id`.
    """

    id: str
    at: Time
    actor: str | None = None
    action: str
    target: str
    request_id: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)
