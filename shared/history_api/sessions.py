"""Sessions and their messages."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.session_turns import SessionTurns
from shared.contracts.sessions import EndedReason, EndUser, Session, SessionState
from shared.history_api.transport import Query, Transport


class SessionCalls(Transport):
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
        """With the published version, or the given one. Raises `agent_not_found`, `no_published_version`.

        The caller makes the id, so that a repeat creates nothing. The agent's session of the same `client_id` is
        returned as it is.
        """
        body: dict[str, Any] = {"id": session_id, "agentId": agent_id, "metadata": metadata, "draft": draft}
        if end_user is not None:
            body["endUser"] = end_user.wire()
        if client_id is not None:
            body["clientId"] = client_id
        if version is not None:
            body["version"] = version
        return Session.model_validate(await self._post(f"/workspaces/{workspace}/sessions", body))

    async def sessions(self, workspace: str, query: Query) -> dict[str, Any]:
        """`{"items": [session…], "nextCursor"}`, newest first unless `order` is asc.

        `query`: q (words of a turn), agentId, agentVersion, status, any number of label=`["name","value"]`, endUser,
        createdFrom and createdBefore (milliseconds), cursor or after (a session's id), limit, order. With `q` a page
        may have no items and a `nextCursor`. Raises `invalid_request`.
        """
        page: dict[str, Any] = await self._call("GET", f"/workspaces/{workspace}/sessions", None, query)
        return page

    async def session(self, workspace: str, session_id: str) -> Session:
        return Session.model_validate(await self._get(f"/workspaces/{workspace}/sessions/{session_id}"))

    async def client_session(self, workspace: str, agent_id: str, client_id: str) -> Session:
        """The session that a client knows by an id of its own. Raises `session_not_found`."""
        query = {"agentId": agent_id, "clientId": client_id}
        return Session.model_validate(await self._get(f"/workspaces/{workspace}/client-session", query))

    async def messages(self, workspace: str, session_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [public message…], "nextCursor"}`.

        `query`: cursor, limit, order, branches (`all`: with the messages that are not on the session's active branch,
        and each with `parentTurnId`). Raises `session_not_found`, `invalid_request`.
        """
        return await self._page(f"/workspaces/{workspace}/sessions/{session_id}/messages", query)

    async def session_turns(self, workspace: str, session_id: str, start: int = 1, limit: int = 20) -> SessionTurns:
        """The turns from number `start` on, with their texts. Raises `session_not_found`."""
        query = {"start": str(start), "limit": str(limit)}
        return SessionTurns.model_validate(
            await self._get(f"/workspaces/{workspace}/sessions/{session_id}/turns", query)
        )

    async def branch(self, workspace: str, session_id: str, before: int | None = None, limit: int = 50) -> SessionTurns:
        """The last turns of the session's active branch, or the last ones before a number, in ascending order.

        `next` is what `before` is for the turns in front of these. Raises `session_not_found`.
        """
        query = {"limit": str(limit)} | ({"before": str(before)} if before is not None else {})
        return SessionTurns.model_validate(
            await self._get(f"/workspaces/{workspace}/sessions/{session_id}/branch", query)
        )

    async def session_states(self, sessions: Sequence[tuple[str, str]]) -> list[SessionState | None]:
        """Of many (workspace, session id) at once, in their order; None for one that is not there (any more)."""
        body = {"sessions": [{"workspace": workspace, "sessionId": session_id} for workspace, session_id in sessions]}
        rows = await self._post("/sessions/states", body)
        return [SessionState.model_validate(row) if row else None for row in rows]

    async def end_session(self, workspace: str, session_id: str, reason: EndedReason = "api") -> Session:
        """Idempotent. An active turn is cancelled; its partial answer is kept."""
        return Session.model_validate(
            await self._post(f"/workspaces/{workspace}/sessions/{session_id}/end", {"reason": reason})
        )

    async def delete_session(self, workspace: str, session_id: str, actor: str | None = None) -> None:
        """Idempotent for a session that existed; raises `session_not_found` for one that never did."""
        query = {"actor": actor} if actor is not None else None
        await self._call("DELETE", f"/workspaces/{workspace}/sessions/{session_id}", query=query)
