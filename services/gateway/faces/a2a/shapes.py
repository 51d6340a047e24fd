"""Pure: turns as tasks, in ProtoJSON: members without a value are left out."""

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.faces.answer import answer_text, citations_of
from shared.contracts.errors import MEANINGS, Code
from shared.contracts.schema import rfc3339
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StoredTurn, Turn, TurnStatus

# A turn has one answer, so its artifact needs no name of its own.
ARTIFACT: Final = "answer"
STATES: Final[dict[TurnStatus, str]] = {
    "queued": "TASK_STATE_SUBMITTED",
    "running": "TASK_STATE_WORKING",
    "completed": "TASK_STATE_COMPLETED",
    "cancelled": "TASK_STATE_CANCELED",
    "failed": "TASK_STATE_FAILED",
}


def status_of(turn: Turn, context_id: str) -> dict[str, Any]:
    status: dict[str, Any] = {
        "state": STATES[turn.status],
        "timestamp": rfc3339(turn.ended_at or turn.created_at),
    }
    if turn.status == "failed":
        status["message"] = failure_message(turn.id, context_id, turn.error or {})
    return status


def failure_message(turn_id: str, context_id: str, problem: dict[str, Any]) -> dict[str, Any]:
    """What went wrong, as a message of the agent. `metadata.code` is the code of the problem document."""
    code = str(problem.get("code") or Code.TURN_FAILED)
    detail = problem.get("detail") or MEANINGS[Code.TURN_FAILED].title
    return {
        "messageId": f"{turn_id}-failure",
        "contextId": context_id,
        "taskId": turn_id,
        "role": "ROLE_AGENT",
        "parts": [{"text": detail}],
        "metadata": {"code": code, "retryable": bool(problem.get("retryable"))},
    }


def task_of(
    turn: Turn,
    context_id: str,
    said: Sequence[TurnMessage] = (),
    output: Sequence[TurnMessage] = (),
    history_length: int | None = None,
) -> dict[str, Any]:
    """`said`: the turn's own messages of the user. `output`: what an ended turn has answered."""
    task: dict[str, Any] = {
        "id": turn.id,
        "contextId": context_id,
        "status": status_of(turn, context_id),
        "metadata": {"agentId": turn.agent_id, "agentVersion": turn.agent_version, "sessionId": turn.session_id},
    }
    if output and (artifact := artifact_of([message.wire() for message in output])) is not None:
        task["artifacts"] = [artifact]
    history = [_said(turn, context_id, message) for message in said if message.role == "user"]
    if history_length is not None:
        history = history[-history_length:] if history_length else []
    if history:
        task["history"] = history
    return task


def _said(turn: Turn, context_id: str, message: TurnMessage) -> dict[str, Any]:
    return {
        "messageId": message.client_id or message.id,
        "contextId": context_id,
        "taskId": turn.id,
        "role": "ROLE_USER",
        "parts": [{"text": message.content or ""}],
    }


def stored_task(
    stored: StoredTurn, context_id: str, history_length: int | None = None, *, artifacts: bool = True
) -> dict[str, Any]:
    output = stored.output if artifacts else ()
    return task_of(stored.turn, context_id, stored.input, output, history_length)


def artifact_of(messages: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The answer of a turn; None: it has said nothing."""
    text, citations = answer_text(messages), citations_of(messages)
    if not text:
        return None
    artifact: dict[str, Any] = {"artifactId": ARTIFACT, "name": ARTIFACT, "parts": [{"text": text}]}
    return artifact | {"metadata": {"citations": citations}} if citations else artifact
