"""The internal API of history, as the gateway and the workers call it. Every call may be repeated: history makes repeats harmless."""

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from shared.contracts.agents import Agent, AgentConfig, AgentVersion, Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import CreatedKey, NewKey, Principal, StoreKey, digest_of, new_secret
from shared.contracts.sessions import Session
from shared.contracts.turns import (
    AdmittedTurn,
    AdmitTurn,
    ClaimedTurn,
    ClaimTurn,
    StartAttempt,
    StartedAttempt,
    StoredTurn,
    Turn,
)
from shared.ids import new_id

AGENTS_PAGE: Final = 1000
Query = dict[str, str] | Sequence[tuple[str, str]]


class HistoryClient:
    """Typed calls over one connection pool.

    Raises ApiError with history's own code, or `dependency_unavailable` when no history answers. A call that could not be
    delivered, or whose answer was lost, is tried once at the next of `urls`; so a history that was just killed costs nothing.
    """

    def __init__(self, urls: Sequence[str], token: str, *, timeout_s: float = 5.0) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=1.0)
        self._session: aiohttp.ClientSession | None = None
        self._preferred = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=100, keepalive_timeout=15.0)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    # --- keys

    async def resolve_key(self, digest: str) -> Principal:
        """Raises `invalid_api_key` for unknown and revoked keys alike."""
        return Principal.model_validate(await self._post("/keys/resolve", {"digest": digest}))

    async def create_key(self, key: NewKey) -> CreatedKey:
        """Id and secret are made here, so that a repeat stores the same key, and the secret never leaves this process."""
        created = CreatedKey(id=new_id("key"), secret=new_secret(key.environment))
        order = StoreKey(**key.model_dump(), id=created.id, digest=digest_of(created.secret))
        await self._post("/keys", order.wire())
        return created

    async def revoke_key(self, workspace: str, key_id: str) -> None:
        await self._call("DELETE", f"/workspaces/{workspace}/keys/{key_id}")

    # --- agents

    async def put_agent(self, workspace: str, agent_id: str, config: AgentConfig) -> Agent:
        """Creates the agent or replaces its draft."""
        return Agent.model_validate(
            await self._call("PUT", f"/workspaces/{workspace}/agents/{agent_id}", config.wire())
        )

    async def publish_agent(self, workspace: str, agent_id: str, passages: Iterable[Passage]) -> AgentVersion:
        """Freezes the draft and the passages under the next number. The same content again gives the version that stands."""
        body = {"passages": [passage.wire() for passage in passages]}
        return AgentVersion.model_validate(await self._post(f"/workspaces/{workspace}/agents/{agent_id}/publish", body))

    async def published_agents(self, workspace: str) -> list[Agent]:
        """All of them, read in pages, in the order of their ids."""
        agents: list[Agent] = []
        query = {"limit": str(AGENTS_PAGE)}
        while True:
            page = await self._page(f"/workspaces/{workspace}/agents", query)
            agents += [Agent.model_validate(agent) for agent in page["items"]]
            if page["nextCursor"] is None:
                return agents
            query["cursor"] = page["nextCursor"]

    async def published_agent(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`, also for one that was never published."""
        return Agent.model_validate(await self._get(f"/workspaces/{workspace}/agents/{agent_id}"))

    async def agent_version(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        return AgentVersion.model_validate(
            await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}")
        )

    async def passages(self, workspace: str, agent_id: str, number: int) -> list[Passage]:
        rows = await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}/passages")
        return [Passage.model_validate(row) for row in rows]

    # --- sessions

    async def create_session(
        self, workspace: str, session_id: str, agent_id: str, metadata: dict[str, str], draft: bool
    ) -> Session:
        """Raises `agent_not_found`, `no_published_version`. The caller makes the id, so that a repeat creates nothing."""
        body = {"id": session_id, "agentId": agent_id, "metadata": metadata, "draft": draft}
        return Session.model_validate(await self._post(f"/workspaces/{workspace}/sessions", body))

    async def sessions(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [session…], "nextCursor"}`, newest first. `query`: agentId, status, cursor, limit. Raises `invalid_request`."""
        return await self._page(f"/workspaces/{workspace}/sessions", query)

    async def session(self, workspace: str, session_id: str) -> Session:
        return Session.model_validate(await self._get(f"/workspaces/{workspace}/sessions/{session_id}"))

    async def messages(self, workspace: str, session_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [public message…], "nextCursor"}`. `query`: cursor, limit, order. Raises `session_not_found`, `invalid_request`."""
        return await self._page(f"/workspaces/{workspace}/sessions/{session_id}/messages", query)

    async def end_session(self, workspace: str, session_id: str, reason: str = "api") -> Session:
        """Idempotent. An active turn is cancelled; its partial answer is kept."""
        return Session.model_validate(
            await self._post(f"/workspaces/{workspace}/sessions/{session_id}/end", {"reason": reason})
        )

    async def delete_session(self, workspace: str, session_id: str) -> None:
        """Idempotent for a session that existed; raises `session_not_found` for one that never did."""
        await self._call("DELETE", f"/workspaces/{workspace}/sessions/{session_id}")

    # --- turns

    async def admit(self, workspace: str, turn: AdmitTurn) -> AdmittedTurn:
        """Makes the turn durable (majority, journaled).

        Raises `session_not_found`, `session_ended`, `turn_in_progress` (member `activeTurnId`), `idempotency_mismatch`,
        `gone`, and for completions `model_not_found`.
        """
        return AdmittedTurn.model_validate(await self._post(f"/workspaces/{workspace}/turns", turn.wire()))

    async def turn(self, workspace: str, turn_id: str, *, text: bool = True) -> StoredTurn:
        """Majority-read. Without `text` its messages bring no content, and its output none at all. Raises `turn_not_found`."""
        query = None if text else {"text": "false"}
        return StoredTurn.model_validate(await self._get(f"/workspaces/{workspace}/turns/{turn_id}", query))

    async def turn_states(self, turns: Sequence[tuple[str, str]]) -> list[Turn | None]:
        """Of many (workspace, turn id) at once, in their order; None for one that is not there (any more)."""
        body = {"turns": [{"workspace": workspace, "turnId": turn_id} for workspace, turn_id in turns]}
        return [Turn.model_validate(row) if row else None for row in await self._post("/turns/states", body)]

    async def claim(self, workspace: str, turn_id: str, claim: ClaimTurn) -> ClaimedTurn:
        """What an attempt needs. It changes nothing: the attempt is this claim's when `start_attempt` says so."""
        return ClaimedTurn.model_validate(
            await self._post(f"/workspaces/{workspace}/turns/{turn_id}/claim", claim.wire())
        )

    async def start_attempt(self, workspace: str, turn_id: str, begin: StartAttempt) -> StartedAttempt:
        """Makes the claim's attempt while the lease in Redis names the claim."""
        return StartedAttempt.model_validate(
            await self._post(f"/workspaces/{workspace}/turns/{turn_id}/attempts", begin.wire())
        )

    async def release(self, workspace: str, turn_id: str, attempt: int) -> None:
        """A drain hands the turn back: this attempt does not count as a try."""
        await self._post(f"/workspaces/{workspace}/turns/{turn_id}/release", {"attempt": attempt})

    async def start_call(self, workspace: str, turn_id: str, attempt: int, call_key: str) -> bool:
        """Records a never-retry tool call before it is made. False: this attempt no longer owns the turn; do not call."""
        body = {"attempt": attempt, "callKey": call_key}
        answer = await self._post(f"/workspaces/{workspace}/turns/{turn_id}/calls", body)
        return bool(answer["recorded"])

    async def cancel(self, workspace: str, turn_id: str) -> Turn:
        """Idempotent. The turn as it stands after the wish was recorded; it may still be running."""
        return Turn.model_validate(await self._post(f"/workspaces/{workspace}/turns/{turn_id}/cancel", {}))

    # --- stored completions

    async def completions(self, workspace: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """`{"items": [StoredTurn's wire, without the caller's messages…], "nextCursor"}`.

        `query`: agentId, after (a turn id), limit, order, and any number of label=`["name","value"]`. Raises `invalid_request`.
        """
        page: dict[str, Any] = await self._call("GET", f"/workspaces/{workspace}/completions", None, query)
        return page

    async def update_completion(self, workspace: str, turn_id: str, metadata: dict[str, str]) -> StoredTurn:
        """Replaces a stored completion's metadata. Raises `turn_not_found`."""
        return StoredTurn.model_validate(
            await self._post(f"/workspaces/{workspace}/completions/{turn_id}", {"metadata": metadata})
        )

    async def delete_completion(self, workspace: str, turn_id: str) -> None:
        """Idempotent for one that was stored; raises `turn_not_found` for any other."""
        await self._call("DELETE", f"/workspaces/{workspace}/completions/{turn_id}")

    # --- plumbing

    async def ready(self) -> None:
        """Raises unless a history answers that it is ready.

        Who checks has less patience than a call, and cancels this. Then the next check asks another history: a process that is not ready
        gets no traffic, so nothing else would lead it away from a silent one.
        """
        asked = self._preferred
        try:
            await self._get("/readyz")
        except asyncio.CancelledError:
            self._leave(asked)
            raise

    async def _get(self, path: str, query: dict[str, str] | None = None) -> Any:
        return await self._call("GET", path, None, query)

    async def _page(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = await self._get(path, query)
        return page

    async def _post(self, path: str, body: Any) -> Any:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: Any = None, query: Query | None = None) -> Any:
        raw = orjson.dumps(body) if body is not None else None
        first = self._preferred
        for index in (first, self._after(first)):
            try:
                return await self._exchange(self._urls[index], method, path, raw, query)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                self._leave(index)
            except TimeoutError:
                # The other histories stand before the same store; but the next call should not wait for this one again.
                self._leave(index)
                break
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The history service does not answer.")

    def _after(self, index: int) -> int:
        return (index + 1) % len(self._urls)

    def _leave(self, index: int) -> None:
        """Many calls fail at once when a history is lost: only the first of them moves the preference, or the second moves it back."""
        if self._preferred == index:
            self._preferred = self._after(index)

    async def _exchange(self, base: str, method: str, path: str, raw: bytes | None, query: Query | None) -> Any:
        assert self._session is not None, "use the client inside `async with`"
        async with self._session.request(method, base + path, data=raw, params=query) as response:
            payload = await response.read()
        value = orjson.loads(payload) if payload else None
        if response.status >= 400:
            raise ApiError.from_problem(value if isinstance(value, dict) else {})
        return value
