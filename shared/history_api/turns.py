"""Turns: admitted by the gateway, claimed and run by a worker."""

from collections.abc import Sequence

from shared.contracts.turns import (
    AdmittedTurn,
    AdmitTurn,
    ClaimedTurn,
    ClaimTurn,
    ModelUse,
    StartAttempt,
    StartedAttempt,
    StoredTurn,
    Turn,
)
from shared.history_api.transport import Transport


class TurnCalls(Transport):
    async def admit(self, workspace: str, turn: AdmitTurn) -> AdmittedTurn:
        """Makes the turn durable (majority, journaled).

        Raises `session_not_found`, `session_ended`, `turn_in_progress` (member `activeTurnId`), `idempotency_mismatch`,
        `gone`, `rate_limited` (the order's `limits`), `turn_not_found` (its `parent` or `instead_of`), and for
        completions `model_not_found`.
        """
        again = turn.model_copy(update={"called_again": True}).wire() if turn.retry_key is not None else None
        admitted = await self._call("POST", f"/workspaces/{workspace}/turns", turn.wire(), again=again)
        return AdmittedTurn.model_validate(admitted)

    async def turn(self, workspace: str, turn_id: str, *, text: bool = True) -> StoredTurn:
        """Majority-read.

        Without `text` its messages bring no content, and its output none at all. Raises `turn_not_found`.
        """
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

    async def release(self, workspace: str, turn_id: str, attempt: int, uses: Sequence[ModelUse] = ()) -> None:
        """A drain hands the turn back: this attempt does not count as a try. `uses`: all that it has used."""
        body = {"attempt": attempt, "uses": [use.wire() for use in uses]}
        await self._post(f"/workspaces/{workspace}/turns/{turn_id}/release", body)

    async def spend(self, workspace: str, turn_id: str, attempt: int, uses: Sequence[ModelUse]) -> None:
        """All that an attempt has used that will not end the turn, so that usage counts it. It may be repeated."""
        body = {"attempt": attempt, "uses": [use.wire() for use in uses]}
        await self._post(f"/workspaces/{workspace}/turns/{turn_id}/uses", body)

    async def start_call(
        self, workspace: str, turn_id: str, attempt: int, call_key: str, uses: Sequence[ModelUse] = ()
    ) -> bool:
        """Records a never-retry tool call before it is made. `uses`: all that the attempt has used so far.

        False: this attempt no longer owns the turn; do not call.
        """
        body = {"attempt": attempt, "callKey": call_key, "uses": [use.wire() for use in uses]}
        answer = await self._post(f"/workspaces/{workspace}/turns/{turn_id}/calls", body)
        return bool(answer["recorded"])

    async def cancel(self, workspace: str, turn_id: str) -> Turn:
        """Idempotent. The turn as it stands after the wish was recorded; it may still be running."""
        return Turn.model_validate(await self._post(f"/workspaces/{workspace}/turns/{turn_id}/cancel", {}))

    async def delete_turn(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        """Erases what was said in one ended turn of a session. Idempotent.

        Raises `turn_not_found`, and `turn_in_progress` for a turn that has not ended.
        """
        query = {"actor": actor} if actor is not None else None
        await self._call("DELETE", f"/workspaces/{workspace}/turns/{turn_id}", query=query)
