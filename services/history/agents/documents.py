"""The documents of agents and versions: their ids, and how they are read. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

import orjson

from services.history.mongo.dialect import Fields, IdField
from services.history.mongo.filters import Document
from shared.contracts.agent_records import SLUG, AgentRecord, VersionRecord
from shared.contracts.agents import Agent, AgentConfig, Passage
from shared.tool_secrets import shown_config

DRAFT: Final = 0
WITHOUT_DRAFT: Final[Fields] = {"draft": 0}
WITHOUT_CONFIG: Final[Fields] = {"config": 0}
AGENT_IDS: Final = IdField("agentId", "agt")


def agent_key(workspace: str, agent_id: str) -> str:
    """A document's id. The workspace is part of it, so that two workspaces may use the same agent id."""
    return f"{workspace}:{agent_id}"


def version_key(workspace: str, agent_id: str, number: int) -> str:
    return f"{workspace}:{agent_id}:{number}"


def agent_of(row: Document) -> Agent:
    return Agent.model_validate({**row, "id": row["agentId"]})


def record_of(row: Document) -> AgentRecord:
    """Agents stored before slugs and revisions existed are read with their id as slug and revision 1."""
    draft = row.get("draft")
    return AgentRecord(
        id=row["agentId"],
        slug=row.get("slug") or default_slug(row["agentId"]),
        name=row["name"],
        revision=row.get("revision", 1),
        published_version=row.get("publishedVersion"),
        latest_version=row.get("latestVersion") or row.get("publishedVersion") or 0,
        draft=shown(draft) if draft is not None else None,
        created_at=row["createdAt"],
        updated_at=row.get("updatedAt") or row["createdAt"],
    )


def version_of(row: Document) -> VersionRecord:
    config = row.get("config")
    return VersionRecord(
        number=row["number"],
        state=row.get("state", "published"),
        note=row.get("note", ""),
        passage_count=row.get("passageCount", 0),
        created_by=row.get("createdBy"),
        created_at=row["createdAt"],
        published_at=row.get("publishedAt"),
        reason=row.get("reason"),
        check_run=row.get("checkRun"),
        index=row.get("indexState"),
        config=shown(config) if config is not None else None,
    )


def frozen(config: AgentConfig) -> str:
    """A configuration as it is stored: JSON text, because a tool's schema has member names that MongoDB does not
    accept.
    """
    return orjson.dumps(config.wire(), option=orjson.OPT_SORT_KEYS).decode()


def config_of(stored: str) -> AgentConfig:
    return AgentConfig.model_validate(orjson.loads(stored))


def shown(stored: str) -> dict[str, Any]:
    """A configuration as whoever may read the agent sees it: without its secrets."""
    return shown_config(config_of(stored)).wire()


def passages_digest(passages: Sequence[Passage]) -> str:
    """What makes two sets of passages the same."""
    content = orjson.dumps([passage.wire() for passage in passages], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()


def default_slug(text: str) -> str:
    """A slug made of a name: ASCII letters and digits, joined by hyphens; `agent` where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    return slug if SLUG.fullmatch(slug) else "agent"
