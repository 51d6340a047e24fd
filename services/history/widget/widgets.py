"""What an agent's widget is set to. It is stored in the agent's document and goes with it."""

from datetime import UTC, datetime
from typing import Any, Final

import jwt
import orjson
from pydantic import ValidationError

from services.history.agents.agents import Agents
from services.history.agents.documents import agent_key
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from shared.contracts.endpoints import Secret
from shared.contracts.errors import ApiError, Code
from shared.contracts.widget import (
    MAX_IDENTITY,
    MAX_IDENTITY_SECRETS,
    Identity,
    IdentitySecret,
    NewIdentitySecret,
    WidgetRecord,
    WidgetSettings,
)
from shared.secrets import SecretBox, SecretsUnavailable

_FIELDS: Final = {
    "agentId": 1,
    "name": 1,
    "workspace": 1,
    "widget": 1,
    "identitySecrets": 1,
    "identityMoves": 1,
    PENDING: 1,
}
# Each round means that another request added a secret in between.
ROUNDS: Final = 10
_LONGEST_S: Final = 24 * 3600
_SKEW_S: Final = 60


class Widgets:
    def __init__(self, database: Database, agents: Agents, audit: Audit, box: SecretBox) -> None:
        self._documents = database.agents
        self._agents = agents
        self._audit = audit
        self._box = box

    async def read(self, workspace: str, agent_id: str) -> WidgetRecord:
        """Raises `agent_not_found`."""
        return _record(await self._agents.document(workspace, agent_id, _FIELDS))

    async def put(self, workspace: str, agent_id: str, settings: WidgetSettings, actor: str | None) -> WidgetRecord:
        """Replaces the settings. May be repeated. Raises `agent_not_found`."""
        change: Document = {
            "$set": {"widget": orjson.dumps(settings.wire()).decode()},
            "$push": {PENDING: audit_entry("widget.updated", agent_id, actor)},
        }
        return await self._changed(workspace, agent_id, {}, change)

    async def add_secret(self, workspace: str, agent_id: str, new: NewIdentitySecret) -> WidgetRecord:
        """May be repeated. Raises `agent_not_found`, and `validation_failed` where two secrets exist already."""
        try:
            sealed = self._box.seal(workspace, new.secret)
        except SecretsUnavailable as error:
            raise ApiError(Code.VALIDATION_FAILED, str(error)) from None
        for _ in range(ROUNDS):
            row = await self._agents.document(workspace, agent_id, _FIELDS)
            known = row.get("identitySecrets", [])
            if any(each["id"] == new.id for each in known):
                return await self._delivered(workspace, agent_id)
            if len(known) >= MAX_IDENTITY_SECRETS:
                raise ApiError(
                    Code.VALIDATION_FAILED, "An agent has at most two identity secrets. Delete the one that is unused."
                )
            entry = {"id": new.id, "sealed": sealed, "createdAt": datetime.now(UTC), "createdBy": new.actor}
            audited = audit_entry("identity_secret.created", new.id, new.actor, agentId=agent_id)
            change = {"$push": {"identitySecrets": entry, PENDING: audited}, "$inc": {"identityMoves": 1}}
            where = {"identityMoves": row.get("identityMoves")}
            if await self._documents.update(self._where(workspace, agent_id) | where, change):
                return await self._delivered(workspace, agent_id)
        raise ApiError(Code.OVERLOADED)

    async def remove_secret(self, workspace: str, agent_id: str, secret_id: str, actor: str | None) -> None:
        """Raises `agent_not_found`, and `not_found` for a secret that the agent does not have."""
        change: Document = {
            "$pull": {"identitySecrets": {"id": secret_id}},
            "$push": {PENDING: audit_entry("identity_secret.deleted", secret_id, actor, agentId=agent_id)},
        }
        where = self._where(workspace, agent_id) | {"identitySecrets.id": secret_id}
        if not await self._documents.update(where, change):
            await self._agents.require(workspace, agent_id)
            raise ApiError(Code.NOT_FOUND)
        await self._delivered(workspace, agent_id)

    async def identity(self, workspace: str, agent_id: str, token: str) -> Identity:
        """Who a customer's backend says the visitor is. Raises `agent_not_found`, `invalid_identity`."""
        row = await self._agents.document(workspace, agent_id, _FIELDS)
        secrets = [Secret(sealed=each["sealed"]) for each in row.get("identitySecrets", [])]
        if not secrets:
            raise ApiError(Code.INVALID_IDENTITY, "This agent has no identity secret. Create one first.")
        if len(token) > MAX_IDENTITY:
            raise ApiError(Code.INVALID_IDENTITY, "The identity token is too long.")
        why = "The identity token is not signed with this agent's identity secret."
        for secret in secrets:
            try:
                return _verified(token, self._box.open(workspace, secret))
            except SecretsUnavailable:
                continue
            except jwt.ExpiredSignatureError:
                raise ApiError(Code.INVALID_IDENTITY, "The identity token has expired.") from None
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValidationError, ValueError):
                why = "The identity token must be a JWT (HS256) with sub, and exp at most 24 hours ahead."
        raise ApiError(Code.INVALID_IDENTITY, why)

    async def _changed(self, workspace: str, agent_id: str, where: Document, change: Document) -> WidgetRecord:
        if not await self._documents.update(self._where(workspace, agent_id) | where, change):
            raise ApiError(Code.AGENT_NOT_FOUND)
        return await self._delivered(workspace, agent_id)

    async def _delivered(self, workspace: str, agent_id: str) -> WidgetRecord:
        row = await self._agents.document(workspace, agent_id, _FIELDS)
        await self._audit.deliver(self._documents, row)
        return _record(row)

    @staticmethod
    def _where(workspace: str, agent_id: str) -> Document:
        return {"_id": agent_key(workspace, agent_id), "deleted": None}


def _verified(token: str, secret: str) -> Identity:
    claims: dict[str, Any] = jwt.decode(
        token, secret, ["HS256"], leeway=_SKEW_S, options={"require": ["exp", "sub"], "verify_aud": False}
    )
    if claims["exp"] - datetime.now(UTC).timestamp() > _LONGEST_S + _SKEW_S:
        raise ValueError("lives too long")
    return Identity(id=claims["sub"], name=claims.get("name"), email=claims.get("email"))


def _record(row: Document) -> WidgetRecord:
    settings = WidgetSettings.model_validate(orjson.loads(row["widget"])) if "widget" in row else WidgetSettings()
    secrets = tuple(IdentitySecret.model_validate(each) for each in row.get("identitySecrets", ()))
    return WidgetRecord(agent_id=row["agentId"], name=row["name"], settings=settings.shown(), identity_secrets=secrets)
