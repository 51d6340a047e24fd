"""A gateway before a real history in which two workspaces have one object of each kind."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import aiohttp
from pydantic import SecretStr

from services.gateway.app import create_app, open_dependencies
from services.gateway.edge.server import PublicRunner
from services.gateway.settings import GatewaySettings
from services.history.webhooks import loops
from shared.contracts.budgets import Allowance, StoreBudget, Subject
from shared.contracts.checks import PutChecks, RunChecks
from shared.contracts.end_users import EraseEndUser
from shared.contracts.keys import SECRET_SCOPES, CreatedKey, NewKey, Publishable, Scope
from shared.contracts.knowledge import NewSource
from shared.contracts.previews import KnowledgePreview, PreviewReply
from shared.contracts.sessions import EndUser
from shared.contracts.webhooks import StoreWebhook
from shared.contracts.widget import NewIdentitySecret
from shared.ids import new_id
from shared.previews.exchange import PreviewExchange
from shared.tasks import end_tasks
from tests.conftest import eventually
from tests.service.gateway.served import running as served
from tests.service.history.conftest import is_ready
from tests.service.history.databases import empty_database
from tests.service.history.running import (
    TOKEN,
    History,
    completion,
    config,
    finished,
    order,
    passage,
    running,
    settings_for,
)
from tests.service.history.webhooks.receiver import Receiver, receiving

OWN, FOREIGN = "acme", "rival"
CANARY = "canary-of-the-rival"
SECRETS_KEY = b64encode(bytes(32)).decode()


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Ids by the names that the paths of the route table have for them."""

    ids: Mapping[str, str]
    session_key: CreatedKey
    all_scopes: CreatedKey


@dataclass(frozen=True, kw_only=True)
class Scene:
    base: str
    history: History
    client: aiohttp.ClientSession
    own: Objects
    foreign: Objects
    made: dict[frozenset[Scope], str] = field(default_factory=dict)

    async def key_with(self, scopes: frozenset[Scope]) -> str:
        """A secret of the own workspace with exactly these scopes."""
        if scopes not in self.made:
            key = await self.history.client.create_key(NewKey(workspace=OWN, scopes=scopes))
            self.made[scopes] = key.secret
        return self.made[scopes]


def absent_ids() -> dict[str, str]:
    """Well-formed ids of nothing."""
    turn = new_id("trn")
    return {
        "sessionId": new_id("ses"),
        "turnId": turn,
        "taskId": turn,
        "completionId": "chatcmpl-" + turn.removeprefix("trn_"),
        "responseId": "resp_" + turn.removeprefix("trn_"),
        "agentId": new_id("agt"),
        "model": new_id("agt"),
        "version": "7",
        "keyId": new_id("key"),
        "secretKeyId": new_id("key"),
        "runId": new_id("chk"),
        "sourceId": new_id("src"),
        "subject": f"agent:{new_id('agt')}",
        "erasureId": new_id("era"),
        "endUserId": "nobody",
        "secretId": new_id("ids"),
        "earlierId": new_id("ses"),
        "messageId": new_id("msg"),
        "chatId": new_id("ses"),
        "webhookId": new_id("whk"),
        "eventId": new_id("evt"),
    }


async def _objects(history: History, receiver: Receiver, workspace: str, mark: str) -> Objects:
    client, agent_id = history.client, new_id("agt")
    await client.put_agent(workspace, agent_id, config(f"Be brief, {mark}."))
    await client.publish_agent(workspace, agent_id, [passage(1)])
    suite = {"checks": [{"name": mark, "steps": [{"user": mark}]}]}
    await client.put_checks(workspace, agent_id, PutChecks(suite=suite))
    run = await client.run_checks(workspace, agent_id, RunChecks(version=1))
    text = NewSource(id=new_id("src"), kind="text", content=mark)
    source = await client.create_source(workspace, agent_id, text)
    session = await client.create_session(workspace, new_id("ses"), agent_id, {"note": mark}, False, EndUser(id=mark))
    turn = order(session.id, f"Hello {mark}?")
    kept = completion(f"Hello {mark}?", store=True).model_copy(update={"agent_id": agent_id})
    for admitted in (turn, kept):
        await client.admit(workspace, admitted)
        result = finished(admitted.turn_id, 0, f"Hi {mark}.").model_copy(update={"workspace": workspace})
        await history.dependencies.finalizer.finish(result)
    erasure = await client.erase_end_user(workspace, EraseEndUser(id=new_id("era"), end_user=f"erased {mark}"))
    await client.put_budget(workspace, Subject("agent", agent_id), StoreBudget(day=Allowance(tokens=1_000_000)))
    secret = NewIdentitySecret(id=new_id("ids"), secret=mark * 5)
    await client.add_identity_secret(workspace, agent_id, secret)
    hook = StoreWebhook(id=new_id("whk"), url=f"{receiver.url}?of={workspace}", events=("session.ended",))
    receiver.secrets.append((await client.create_webhook(workspace, hook)).secret)
    delivery = await client.test_webhook(workspace, hook.id)
    await eventually(lambda: _delivered(history, delivery.id), what="a delivery that changes no more")
    answers = (await client.messages(workspace, session.id, {}))["items"]
    own = Publishable(agent_id=agent_id, allowed_origins=("https://shop.example",))
    pages = await client.create_key(NewKey(workspace=workspace, name=mark, scopes=frozenset({Scope.CHAT_PUBLIC})), own)
    servers = await client.create_key(NewKey(workspace=workspace, name=mark, scopes=SECRET_SCOPES))
    ids = {
        "sessionId": session.id,
        "turnId": turn.turn_id,
        "taskId": turn.turn_id,
        "completionId": "chatcmpl-" + kept.turn_id.removeprefix("trn_"),
        "responseId": "resp_" + turn.turn_id.removeprefix("trn_"),
        "agentId": agent_id,
        "model": agent_id,
        "version": "1",
        "keyId": pages.id,
        "secretKeyId": servers.id,
        "runId": run.id,
        "sourceId": source.id,
        "subject": f"agent:{agent_id}",
        "erasureId": erasure.id,
        "endUserId": mark,
        "secretId": secret.id,
        "earlierId": session.id,
        "webhookId": hook.id,
        "eventId": delivery.id,
        "messageId": next(each["id"] for each in answers if each["role"] == "assistant"),
        "chatId": session.id,
    }
    return Objects(ids=ids, session_key=pages, all_scopes=servers)


async def _delivered(history: History, event_id: str) -> bool:
    row = await history.documents.webhook_deliveries.find_one({"eventId": event_id})
    return row is not None and row["state"] == "delivered"


def gateway_settings(history: History, redis_url: str, **more: Any) -> GatewaySettings:
    given = {
        "internal_token": SecretStr(TOKEN),
        "queue_redis_url": redis_url,
        "history_url": history.base_url,
        "failed_auth_per_minute": 1_000_000,
        "requests_per_minute": 1_000_000,
        "visitor_requests_per_minute": 1_000_000,
        "visits_per_minute": 1_000_000,
        "unchallenged_visits_per_minute": 1_000_000,
    }
    return GatewaySettings.model_validate(given | more)


@asynccontextmanager
async def gateway_before(history: History, redis_url: str, **more: Any) -> AsyncIterator[str]:
    """The base URL of a gateway, built as its process builds it."""
    async with open_dependencies(gateway_settings(history, redis_url, **more)) as dependencies:
        runner = PublicRunner(create_app(dependencies, private=True))
        async with served(runner) as (host, port):
            base = f"http://{host}:{port}/api/v1"
            async with aiohttp.ClientSession() as client:

                async def ready() -> bool:
                    async with client.get(f"http://{host}:{port}/readyz") as response:
                        return response.status == 200

                await eventually(ready, what="a ready gateway")
            yield base
            dependencies.drain()


@asynccontextmanager
async def previews_answered(redis_url: str) -> AsyncIterator[None]:
    """By a worker that finds nothing."""
    exchange = PreviewExchange(redis_url)

    async def answer() -> None:
        while True:
            if (order := await exchange.next()) is not None:
                reply = PreviewReply(preview=KnowledgePreview(query=order.query, version=order.version))
                await exchange.answer(order, reply)

    answering = asyncio.create_task(answer())
    try:
        yield
    finally:
        await end_tasks([answering])
        await exchange.aclose()


@asynccontextmanager
async def webhooks_soon() -> AsyncIterator[None]:
    """The two deliveries of a scene are waited for: with the usual second between two looks, for two seconds a test."""
    with patch.object(loops, "EVERY_S", 0.05):
        yield


@asynccontextmanager
async def scene(mongodb_uri: str, redis_url: str) -> AsyncIterator[Scene]:
    own: Mapping[str, Any] = {
        "reconcile_interval_s": 60.0,
        "secrets_keys": SECRETS_KEY,
        "webhook_allow": "127.0.0.1",
    }
    async with (
        empty_database(mongodb_uri) as database,
        receiving() as receiver,
        webhooks_soon(),
        running(settings_for(mongodb_uri, redis_url, mongodb_database=database, **own)) as history,
    ):
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        async with (
            gateway_before(history, redis_url) as base,
            aiohttp.ClientSession() as client,
            previews_answered(redis_url),
        ):
            yield Scene(
                base=base,
                history=history,
                client=client,
                own=await _objects(history, receiver, OWN, "our own"),
                foreign=await _objects(history, receiver, FOREIGN, CANARY),
            )
