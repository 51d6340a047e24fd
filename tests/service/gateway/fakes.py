"""History as the gateway sees it, in memory and with the real signatures; and a player of the worker's part."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr

from services.gateway.app import create_app
from services.gateway.completions.agent_rules import AgentRules
from services.gateway.dependencies import Dependencies
from services.gateway.edge.auth import Authenticator
from services.gateway.edge.challenges import Challenges
from services.gateway.edge.key_cache import KeyCache
from services.gateway.edge.limits import GatewayLimits
from services.gateway.edge.rates import RequestRates
from services.gateway.edge.server import PublicRunner
from services.gateway.edge.visitor_tokens import VisitorTokens
from services.gateway.settings import GatewaySettings
from services.gateway.streaming.disconnects import DisconnectMonitor
from services.gateway.streaming.hub import Hub
from services.gateway.streaming.queue_age import QueueAge
from services.gateway.streaming.turn_status import SessionStatusBatcher, TurnStatusBatcher
from shared.contracts.agents import Agent, AgentConfig, AgentVersion, ModelChoice
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId
from shared.contracts.keys import Principal, Scope, digest_of, new_secret
from shared.contracts.session_turns import SessionTurns
from shared.contracts.sessions import EndUser, Session, SessionState, ToolCall, TurnMessage
from shared.contracts.turns import (
    ENDED,
    AdmittedTurn,
    AdmitTurn,
    StoredTurn,
    Turn,
    Usage,
    terminal_frame,
)
from shared.history_api.transport import Query
from shared.history_client import HistoryClient
from shared.ids import new_id
from shared.previews.exchange import PreviewExchange
from shared.run_log.reader import RunLogs
from shared.run_log.writer import LogWriter, TurnWriter
from shared.turn_queue.queue import TurnQueue
from tests.service.gateway.served import running

WORKSPACE = "ws_one"


def now() -> datetime:
    return datetime.now(UTC)


class FakeHistory(HistoryClient):
    """Keeps everything in dictionaries; `down` answers like a history that is away."""

    def __init__(self, logs: RunLogs) -> None:
        super().__init__(["http://127.0.0.1:1"], "token")
        self.down = False
        self.key_lookups = 0
        self.principals: dict[str, Principal] = {}
        self.versions: dict[str, AgentConfig] = {}
        self.kept_sessions: dict[tuple[str, str], Session] = {}
        self.turns: dict[str, StoredTurn] = {}
        self.orders: dict[str, AdmitTurn] = {}
        self.owners: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.deleted: set[str] = set()
        self.retries = 0
        self._logs = logs

    async def _call(self, *_: Any, **__: Any) -> Any:
        """What has no method here is a noun that this fake does not keep."""
        self._check()
        raise ApiError(Code.NOT_FOUND)

    def _check(self) -> None:
        if self.down:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)

    def key(self, *scopes: Scope, workspace: str = WORKSPACE, **more: Any) -> str:
        secret = new_secret("test")
        self.principals[digest_of(secret)] = Principal(
            key_id=new_id("key"), workspace=workspace, scopes=frozenset(scopes), **more
        )
        return secret

    def agent(self, **config: Any) -> str:
        agent_id = new_id("agt")
        self.versions[agent_id] = AgentConfig(name="Pizza", model=ModelChoice(name="scripted"), **config)
        return agent_id

    async def resolve_key(self, digest: str) -> Principal:
        self.key_lookups += 1
        await asyncio.sleep(0)
        self._check()
        if digest not in self.principals:
            raise ApiError(Code.INVALID_API_KEY)
        return self.principals[digest]

    async def published_agents(
        self, workspace: str, before: str | None = None, limit: int = 1000
    ) -> tuple[list[Agent], bool]:
        self._check()
        ids = [agent_id for agent_id in sorted(self.versions, reverse=True) if before is None or agent_id < before]
        return [await self.published_agent(workspace, agent_id) for agent_id in ids[:limit]], len(ids) > limit

    async def published_agent(self, workspace: str, agent_id: str) -> Agent:
        if agent_id not in self.versions or workspace != WORKSPACE:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return Agent(id=agent_id, workspace=workspace, name="Pizza", published_version=1, created_at=now())

    async def resolve_model(self, workspace: str, model: str) -> tuple[str, int]:
        if model not in self.versions or workspace != WORKSPACE:
            raise ApiError(Code.MODEL_NOT_FOUND, param="model")
        return model, 1

    async def agent_version(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        return AgentVersion(agent_id=agent_id, number=number, config=self.versions[agent_id])

    async def create_session(
        self,
        workspace: str,
        session_id: str,
        agent_id: str,
        metadata: dict[str, str],
        draft: bool,
        end_user: EndUser | None = None,
        client_id: str | None = None,
        version: int | None = None,
    ) -> Session:
        self._check()
        if client_id is not None:
            with suppress(ApiError):
                return await self.client_session(workspace, agent_id, client_id)
        await self.published_agent(workspace, agent_id)
        session = Session(
            id=session_id,
            agent_id=agent_id,
            agent_version=version or 1,
            status="active",
            metadata=metadata,
            end_user=end_user,
            client_id=client_id,
            created_at=now(),
        )
        self.kept_sessions[workspace, session_id] = session
        return session

    async def client_session(self, workspace: str, agent_id: str, client_id: str) -> Session:
        self._check()
        for (owner, _), session in self.kept_sessions.items():
            if (owner, session.agent_id, session.client_id) == (workspace, agent_id, client_id):
                return session
        raise ApiError(Code.SESSION_NOT_FOUND)

    async def sessions(self, workspace: str, asked: Query) -> dict[str, Any]:
        query = dict(asked)
        if query.get("cursor") == "bad":
            raise ApiError(Code.INVALID_REQUEST)
        found = [session.wire() for (owner, _), session in self.kept_sessions.items() if owner == workspace]
        return {"items": found[: int(query["limit"])], "nextCursor": None}

    async def session(self, workspace: str, session_id: str) -> Session:
        self._check()
        if (workspace, session_id) not in self.kept_sessions:
            raise ApiError(Code.SESSION_NOT_FOUND)
        return self.kept_sessions[workspace, session_id]

    async def messages(self, workspace: str, session_id: str, query: dict[str, str]) -> dict[str, Any]:
        await self.session(workspace, session_id)
        stored = [turn for turn in self.turns.values() if turn.turn.session_id == session_id]
        items = [message.public(session_id, turn.turn.id) for turn in stored for message in (*turn.input, *turn.output)]
        return {"items": items, "nextCursor": None}

    async def session_turns(self, workspace: str, session_id: str, start: int = 1, limit: int = 20) -> SessionTurns:
        session = await self.session(workspace, session_id)
        found = self._numbered(session_id)
        page = tuple(stored for stored in found if start <= stored.number < start + limit)
        return SessionTurns(session=session, turns=page, next=start + limit if start + limit <= len(found) else None)

    async def branch(self, workspace: str, session_id: str, before: int | None = None, limit: int = 50) -> SessionTurns:
        session = await self.session(workspace, session_id)
        found, replaced = list[StoredTurn](), {order.instead_of for order in self.orders.values()}
        for stored in self._numbered(session_id):
            if stored.turn.id not in replaced and (before is None or stored.number < before):
                found.append(stored)
        page = found[-limit:]
        following = page[0].number if len(found) > len(page) else None
        return SessionTurns(session=session, turns=tuple(page), next=following)

    async def session_states(self, sessions: Sequence[tuple[str, str]]) -> list[SessionState | None]:
        self._check()
        return [self._state(name) for name in sessions]

    def _state(self, name: tuple[str, str]) -> SessionState | None:
        if name not in self.kept_sessions:
            return None
        turns = self._numbered(name[1])
        active = any(stored.turn.status not in ENDED for stored in turns)
        return SessionState(status=self.kept_sessions[name].status, turn_count=len(turns), active=active)

    def _numbered(self, session_id: str) -> list[StoredTurn]:
        return [stored for stored in self.turns.values() if stored.turn.session_id == session_id]

    async def end_session(self, workspace: str, session_id: str, reason: str = "api") -> Session:
        session = await self.session(workspace, session_id)
        ended = session.model_copy(
            update={"status": "ended", "ended_at": session.ended_at or now(), "ended_reason": "api"}
        )
        self.kept_sessions[workspace, session_id] = ended
        await self._logs.signal_session(workspace, session_id)
        return ended

    async def delete_session(self, workspace: str, session_id: str, actor: str | None = None) -> None:
        await self.session(workspace, session_id)
        del self.kept_sessions[workspace, session_id]

    async def admit(self, workspace: str, turn: AdmitTurn) -> AdmittedTurn:
        await asyncio.sleep(0)
        self._check()
        earlier = self._earlier(turn)
        if earlier is not None:
            return AdmittedTurn(
                created=False, turn=earlier.turn, user_message_id=earlier.input[-1].id, output=earlier.output
            )
        agent_id = await self._answering(workspace, turn)
        admitted = Turn(
            id=turn.turn_id,
            session_id=turn.session_id,
            status="queued",
            agent_id=agent_id,
            agent_version=1,
            reasoning=turn.reasoning or None,
            created_at=now(),
        )
        self.orders[turn.turn_id] = turn
        self.owners[turn.turn_id] = workspace
        number = len(self._numbered(turn.session_id)) + 1 if turn.session_id is not None else 0
        self.turns[turn.turn_id] = StoredTurn(
            turn=admitted, number=number, input=turn.messages, completion=turn.completion
        )
        return AdmittedTurn(
            created=True, turn=admitted, user_message_id=turn.messages[-1].id, snapshot=f"snapshot of {turn.turn_id}"
        )

    def _earlier(self, turn: AdmitTurn) -> StoredTurn | None:
        self.retries += turn.is_retry
        for turn_id, order in reversed(self.orders.items()):
            if turn.idempotency_key is not None and order.idempotency_key == turn.idempotency_key:
                if order.body_digest != turn.body_digest:
                    raise ApiError(Code.IDEMPOTENCY_MISMATCH)
                return self.turns[turn_id]
            if turn.is_retry and turn.retry_key is not None and order.retry_key == turn.retry_key:
                return self.turns[turn_id]
        return None

    async def _answering(self, workspace: str, turn: AdmitTurn) -> str:
        if turn.session_id is None:
            if turn.agent_id not in self.versions:
                raise ApiError(Code.MODEL_NOT_FOUND)
            return str(turn.agent_id)
        session = await self.session(workspace, turn.session_id)
        if session.status == "ended":
            raise ApiError(Code.SESSION_ENDED)
        for stored in self.turns.values():
            if stored.turn.session_id == turn.session_id and stored.turn.status in ("queued", "running"):
                raise ApiError(Code.TURN_IN_PROGRESS, members={"activeTurnId": stored.turn.id})
        return session.agent_id

    async def turn(self, workspace: str, turn_id: str, *, text: bool = True) -> StoredTurn:
        self._check()
        if self.owners.get(turn_id) != workspace:
            raise ApiError(Code.TURN_NOT_FOUND)
        stored = self.turns[turn_id]
        if text:
            return stored
        bare = tuple(message.model_copy(update={"content": None}) for message in stored.input)
        return stored.model_copy(update={"input": bare, "output": (), "completion": None})

    async def turn_states(self, turns: Sequence[tuple[str, str]]) -> list[Turn | None]:
        self._check()
        return [self.turns[turn_id].turn if turn_id in self.turns else None for _, turn_id in turns]

    async def cancel(self, workspace: str, turn_id: str) -> Turn:
        self.cancelled.append(turn_id)
        return (await self.turn(workspace, turn_id)).turn

    async def completions(self, workspace: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        self._check()
        asked, labels = dict(query), [tuple(orjson.loads(value)) for name, value in query if name == "label"]
        found = sorted(
            (turn_id for turn_id in self.turns if self._is_kept(workspace, turn_id, asked.get("agentId"), labels)),
            reverse=asked["order"] == "desc",
        )
        start = found.index(asked["after"]) + 1 if asked.get("after") in found else 0
        page = found[start : start + int(asked["limit"])]
        items = [self.turns[turn_id].wire() for turn_id in page]
        return {"items": items, "nextCursor": page[-1] if len(found) > start + len(page) else None}

    def _is_kept(self, workspace: str, turn_id: str, agent_id: str | None, labels: Sequence[tuple[str, str]]) -> bool:
        stored = self.turns[turn_id]
        kept = (
            stored.completion is not None
            and stored.completion.store
            and stored.turn.status in ("completed", "cancelled")
        )
        if not kept or self.owners[turn_id] != workspace or agent_id not in (None, stored.turn.agent_id):
            return False
        return stored.completion is not None and set(labels) <= set(stored.completion.metadata.items())

    async def update_completion(self, workspace: str, turn_id: str, metadata: dict[str, str]) -> StoredTurn:
        self._check()
        if turn_id not in self.turns or not self._is_kept(workspace, turn_id, None, ()):
            raise ApiError(Code.TURN_NOT_FOUND)
        stored = self.turns[turn_id]
        assert stored.completion is not None
        completion = stored.completion.model_copy(update={"metadata": metadata})
        self.turns[turn_id] = stored.model_copy(update={"completion": completion})
        return self.turns[turn_id]

    async def delete_completion(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        if turn_id in self.deleted and self.owners[turn_id] == workspace:
            return
        await self.update_completion(workspace, turn_id, {})
        self.deleted.add(turn_id)
        self.turns[turn_id] = self.turns[turn_id].model_copy(update={"completion": None, "erased": True, "output": ()})

    async def delete_turn(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        stored = await self.turn(workspace, turn_id)
        if stored.turn.status not in ENDED:
            raise ApiError(Code.TURN_IN_PROGRESS)
        self.turns[turn_id] = stored.model_copy(update={"completion": None, "erased": True, "output": (), "input": ()})

    async def ready(self) -> None:
        self._check()

    # --- what history does with a finished turn

    async def finish(
        self, turn_id: str, seq: int, output: Sequence[TurnMessage], *, attempt: int = 1, **turn: Any
    ) -> None:
        """Writes the document, then the terminal frame: in this order, as the real one does."""
        stored = self.turns[turn_id]
        values = {
            "status": "completed",
            "finish_reason": "stop",
            "attempt": attempt,
            "ended_at": now(),
            "usage": USAGE,
            **turn,
        }
        ended = stored.turn.model_copy(update=values)
        self.turns[turn_id] = stored.model_copy(update={"turn": ended, "output": tuple(output), "last_seq": seq})
        end = terminal_frame(ended, tuple(output))
        await self._logs.append_terminal(self.owners[turn_id], turn_id, FrameId(attempt, seq), *end, ended.session_id)


USAGE = Usage(prompt_tokens=7, completion_tokens=3, total_tokens=10, cached_tokens=2)


def said(text: str, calls: Sequence[ToolCall] = ()) -> TurnMessage:
    return TurnMessage(
        id=new_id("msg"), role="assistant", content=text or None, tool_calls=tuple(calls) or None, created_at=now()
    )


@dataclass
class Stage:
    """A running gateway with everything around it."""

    base: str
    dependencies: Dependencies
    history: FakeHistory
    writer: LogWriter
    client: aiohttp.ClientSession
    agent_id: str
    key: str
    runner: PublicRunner
    turn_writers: dict[str, TurnWriter] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"{self.base}/api/v1{path}"

    async def session(self) -> str:
        async with self.client.post(self.url("/chat/sessions"), json={"agentId": self.agent_id}) as response:
            assert response.status == 201, await response.text()
            session_id: str = (await response.json())["data"]["id"]
            return session_id

    async def admitted(self, count: int = 1) -> str:
        """The id of the last turn, once there are so many."""
        async with asyncio.timeout(30):
            while len(self.history.turns) < count:
                await asyncio.sleep(0.005)
        return list(self.history.turns)[-1]

    def turn_writer(self, turn_id: str, attempt: int = 1) -> TurnWriter:
        return self.writer.open(self.history.owners[turn_id], turn_id, attempt)

    async def answer(self, turn_id: str, *pieces: str, **turn: Any) -> None:
        """A worker's whole answer, and its end."""
        writer = self.turn_writer(turn_id)
        writer.frame(
            "started", {"turnId": turn_id, "agentId": self.agent_id, "agentVersion": 1, "attempt": 1, "waitMs": 1}
        )
        for piece in pieces:
            writer.delta(piece)
            await writer.flush()
        await writer.flush()
        await self.history.finish(turn_id, writer.last_seq + 1, [said("".join(pieces))], **turn)


def settings_for(redis_url: str, **more: Any) -> GatewaySettings:
    return GatewaySettings(
        internal_token=SecretStr("a-token-of-the-tests"), queue_redis_url=redis_url, key_cache_s=0.3, **more
    )


@asynccontextmanager
async def stage(
    redis_url: str, *, private: bool = True, history: FakeHistory | None = None, **more: Any
) -> AsyncIterator[Stage]:
    """A gateway on a real AppRunner, as production runs it; its history is a fake, its own or another stage's."""
    settings = settings_for(redis_url, **more)
    logs = RunLogs(settings.stream_shards, keep_s=60)
    history = history or FakeHistory(logs)
    queue = TurnQueue.connect(settings.queue_redis_url)
    previews = PreviewExchange(settings.queue_redis_url)
    visitors = VisitorTokens(settings.visitor_secrets, life_s=settings.visitor_token_s)
    challenges = Challenges(settings.visitor_secrets, settings.queue_redis_url)
    async with (
        RequestRates(settings.queue_redis_url) as rates,
        logs,
        Hub(settings.stream_shards) as hub,
        DisconnectMonitor() as disconnects,
        QueueAge(queue, settings.queue_age_limit_s) as queue_age,
        LogWriter(settings.stream_shards, ttl_s=60) as writer,
    ):
        dependencies = Dependencies(
            settings=settings,
            history=history,
            queue=queue,
            previews=previews,
            logs=logs,
            hub=hub,
            turn_status=TurnStatusBatcher(history),
            session_status=SessionStatusBatcher(history),
            authenticator=Authenticator(
                KeyCache(history.resolve_key, ttl_s=settings.key_cache_s),
                rates,
                visitors,
                failures_per_minute=settings.failed_auth_per_minute,
                trusted_proxies=settings.proxy_networks,
            ),
            visitors=visitors,
            challenges=challenges,
            limits=GatewayLimits(
                rates,
                requests_per_minute=settings.requests_per_minute,
                streams_per_key=settings.streams_per_key,
                streams_limit=settings.streams_limit,
                visitor_requests_per_minute=settings.visitor_requests_per_minute,
                visits_per_minute=settings.visits_per_minute,
                unchallenged_visits_per_minute=settings.unchallenged_visits_per_minute,
                turns_per_key=settings.turns_per_key,
                turns_per_end_user=settings.turns_per_end_user,
            ),
            agents=AgentRules(history),
            disconnects=disconnects,
            queue_age=queue_age,
            draining=asyncio.Event(),
        )
        runner = PublicRunner(create_app(dependencies, private=private))
        async with running(runner) as (host, port):
            base = f"http://{host}:{port}"
            key = history.key(*(set(Scope) - {Scope.CHAT_PUBLIC}))
            headers = {"Authorization": f"Bearer {key}"}
            async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:
                yield Stage(base, dependencies, history, writer, client, history.agent(), key, runner)
            dependencies.drain()
        await challenges.aclose()
        await previews.aclose()
        await queue.aclose()
