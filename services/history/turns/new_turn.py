"""The document of a new turn, as a pure function of its order."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from services.history.mongo.filters import Document
from services.history.turns.branches import Branch
from services.history.turns.record import COMPLETIONS, labels_of
from services.history.turns.retry_guard import guard_marks
from shared.budgets.store import Estimate
from shared.contracts.redaction import Redaction
from shared.contracts.turns import AdmitTurn


class Target(NamedTuple):
    """What answers the turn, and for a session the number that the turn gets if nobody else takes it."""

    agent_id: str
    agent_version: int
    n: int = 0
    variables: dict[str, str] | None = None
    redaction: Redaction = Redaction()
    end_user_id: str | None = None
    estimate: Estimate = Estimate(0, 0)
    branch: Branch = Branch()


def new_turn(workspace: str, order: AdmitTurn, target: Target, n: int, places: Sequence[str] = ()) -> Document:
    """Absent values are left out: partial indexes depend on the presence of `sessionId` and `idempotencyKey`."""
    document: Document = {
        "_id": order.turn_id,
        "workspace": workspace,
        "status": "queued",
        "active": True,
        "attempt": 0,
        "tries": 0,
        "agentId": target.agent_id,
        "agentVersion": target.agent_version,
        "scope": order.session_id or COMPLETIONS,
        "bodyDigest": order.body_digest,
        "input": [message.wire() for message in order.messages],
        "createdAt": datetime.now(UTC),
    }
    document |= _caller(order, places)
    if order.session_id is not None:
        document |= {"sessionId": order.session_id, "n": n, **target.branch.members(n)}
    if order.idempotency_key is not None:
        document["idempotencyKey"] = order.idempotency_key
    if target.variables:
        document["variables"] = orjson.dumps(target.variables).decode()
    if target.end_user_id is not None:
        document["endUserId"] = target.end_user_id
    if order.metadata:
        document["metadata"] = orjson.dumps(order.metadata).decode()
    if order.completion is not None:
        document["completion"] = orjson.dumps(order.completion.wire()).decode()
    if order.reasoning:
        document["reasoning"] = True
    document |= guard_marks(order)
    if order.session_id is None:
        document |= _retention(order)
    return document


def _caller(order: AdmitTurn, places: Sequence[str]) -> Document:
    """Whose turn it is, for usage and for the queue, and which limits count it."""
    document: Document = {} if order.key_id is None else {"keyId": order.key_id}
    if order.weight != 1:
        document["weight"] = order.weight
    if order.request_id is not None:
        document["requestId"] = order.request_id
    if order.traceparent is not None:
        document["traceparent"] = order.traceparent
    return document | ({"places": list(places)} if places else {})


def _retention(order: AdmitTurn) -> Document:
    """Whether the completion is stored, or its text is erased after a while."""
    if order.completion is None or not order.completion.store:
        return {"store": False, "erasable": True}
    return {"store": True, "erasable": False, "storedId": order.turn_id, "labels": labels_of(order.completion.metadata)}
